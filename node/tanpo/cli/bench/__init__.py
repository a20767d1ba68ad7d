"""The bench: what a network of four sustains on this machine, and where the time goes."""

from tanpo.cli.bench.run import run_bench

__all__ = ["run_bench"]
