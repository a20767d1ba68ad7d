"""The demonstration: four institutions tokenise, swap and pledge, and their network survives its leader."""

from tanpo.cli.demo.play import run_demo

__all__ = ["run_demo"]
