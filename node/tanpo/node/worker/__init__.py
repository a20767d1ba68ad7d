"""Contracts in a process of their own, that can do nothing but answer its node (VM section 5).

`runner` and `process` are the node's side, `__main__` and `serving` the worker's, `wire` is what they say to
each other. This package re-exports nothing: a worker must not load what only a node needs.
"""
