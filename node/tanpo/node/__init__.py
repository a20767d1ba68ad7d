"""A node: gRPC services, peer transport, mempool, and the loop that drives the replica.

This package re-exports nothing: its entry point is `tanpo.node.app`, and importing part of it must not load
the rest (a CLI that only issues certificates does not need gRPC).
"""
