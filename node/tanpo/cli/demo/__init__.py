"""The demonstration: four institutions tokenise, swap and pledge, and their network survives its leader."""

from tanpo.cli.demo.play import play_on, run_demo

__all__ = ["play_on", "run_demo"]
