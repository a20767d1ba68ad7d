"""What must always be true of a simulated cluster, checked at every step."""

from tanpo.simulator.checks.agreement import Agreement
from tanpo.simulator.checks.attribution import Attribution
from tanpo.simulator.checks.beginnings import Beginnings
from tanpo.simulator.checks.diligence import AttentiveReplica
from tanpo.simulator.checks.justification import Justifications
from tanpo.simulator.checks.memory import check_memory
from tanpo.simulator.checks.promises import PromiseBook, Promiser, check_rest, check_write
from tanpo.simulator.checks.quorums import Quorums
from tanpo.simulator.checks.rebirths import Rebirths
from tanpo.simulator.checks.results import check_results
from tanpo.simulator.checks.suite import Checks, Disagreement
from tanpo.simulator.checks.times import Times

__all__ = [
    "Agreement",
    "AttentiveReplica",
    "Attribution",
    "Beginnings",
    "Checks",
    "Disagreement",
    "Justifications",
    "PromiseBook",
    "Promiser",
    "Quorums",
    "Rebirths",
    "Times",
    "check_memory",
    "check_rest",
    "check_results",
    "check_write",
]
