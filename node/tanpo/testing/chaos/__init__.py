"""A bench that breaks real networks and checks what is left: faults, clients' histories, and their checks."""

from tanpo.testing.chaos.checks import Violation
from tanpo.testing.chaos.linearizability import Finding, Verdict, check_register, check_registers
from tanpo.testing.chaos.operations import Action, History, Operation, State

__all__ = [
    "Action",
    "Finding",
    "History",
    "Operation",
    "State",
    "Verdict",
    "Violation",
    "check_register",
    "check_registers",
]
