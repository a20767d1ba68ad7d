"""Random programs of the contract dialect, run on every engine and on CPython, and compared."""

from tanpo.testing.programs.campaign import Findings, run_chunk
from tanpo.testing.programs.interpreters import compare_interpreters, find_interpreters, run_script
from tanpo.testing.programs.model import Program
from tanpo.testing.programs.shrinking import shrink
from tanpo.testing.programs.trial import Bench, Trial
from tanpo.testing.programs.writing import write_program

__all__ = [
    "Bench",
    "Findings",
    "Program",
    "Trial",
    "compare_interpreters",
    "find_interpreters",
    "run_chunk",
    "run_script",
    "shrink",
    "write_program",
]
