"""The reference engine: Python closures, one for each node of the typed program; no text is generated."""

from tanpo.vm.closures.program import ClosureProgram, build_closures

__all__ = ["ClosureProgram", "build_closures"]
