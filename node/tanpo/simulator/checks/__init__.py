"""What must always be true of a simulated cluster, checked at every step."""

from tanpo.simulator.checks.agreement import Agreement
from tanpo.simulator.checks.attribution import Attribution
from tanpo.simulator.checks.justification import Justifications
from tanpo.simulator.checks.memory import check_memory
from tanpo.simulator.checks.promises import PromiseBook, Promiser
from tanpo.simulator.checks.quorums import check_quorums
from tanpo.simulator.checks.suite import Checks, Disagreement
from tanpo.simulator.checks.times import Times

__all__ = [
    "Agreement",
    "Attribution",
    "Checks",
    "Disagreement",
    "Justifications",
    "PromiseBook",
    "Promiser",
    "Times",
    "check_memory",
    "check_quorums",
]
