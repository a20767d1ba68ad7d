"""The `tanpo` command: a local network, a demonstration, a bench, keys, transactions and queries."""

from tanpo.cli.root import main

__all__ = ["main"]
