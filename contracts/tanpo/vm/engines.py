"""The engines by name: what a node's configuration and tools choose from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from tanpo.vm.closures import build_closures
from tanpo.vm.codegen import build_program
from tanpo.vm.engine import Engine

ENGINES: Final[Mapping[str, Engine]] = {"codegen": build_program, "closures": build_closures}
"""`codegen` writes Python and compiles it, and is the default; `closures` the reference for it."""
