"""The network of `tanpo net up --compose`: the same consortium, each node in a container of its own."""

from tanpo.cli.compose.network import ComposeNetwork

__all__ = ["ComposeNetwork"]
