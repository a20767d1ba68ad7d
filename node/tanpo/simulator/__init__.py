"""Deterministic simulation of whole networks: one seed decides everything, and time is virtual.

A run is a `Cluster` of simulated nodes. Each drives the real replica with the real driver's decisions
(`tanpo.node.agenda`) over a simulated disk that follows the store's real rules (`tanpo.storage.recall`).
Simulated is the rest of the world: links, clocks, disks, clients, crashes, and validators in the hands of
an adversary. Checkers look at every step.

    run.py, settings.py       one run, and what a seed draws: sizes, faults and their rates, who is hostile
    cluster.py                joins the parts
    partitions.py, twins/     partitions that are planned term by term; the Twins test
    process.py, boot.py,      a node: its loop, how it starts, what it puts into blocks, its disks
    bodies.py, disk.py
    links.py, weather.py,     messages and their faults; crashes, cuts, clocks and disks; who submits
    clients.py
    hostile/                  the adversary: small behaviours that are combined at random
    checks/                   what must always be true
    reigns.py, application.py validator sets and their succession; what blocks do to the state
    timeline.py               what happened, in words, and its digest
    shrinking.py, sweep.py    the smallest reproducer; many seeds in parallel

A replica under test other than the product's own is handed to `run_seed` as `replica_factory`.
"""

from tanpo.simulator.application import Application, HashApplication, State
from tanpo.simulator.cluster import Cluster, ReplicaFactory
from tanpo.simulator.faults import FaultKind
from tanpo.simulator.run import Report, run_seed
from tanpo.simulator.settings import HostileValidator, Mode, Settings, draw_settings
from tanpo.simulator.shrinking import Reproducer, shrink
from tanpo.simulator.sweep import Finding, Totals, sweep
from tanpo.simulator.violation import Violation

__all__ = [
    "Application",
    "Cluster",
    "FaultKind",
    "Finding",
    "HashApplication",
    "HostileValidator",
    "Mode",
    "ReplicaFactory",
    "Report",
    "Reproducer",
    "Settings",
    "State",
    "Totals",
    "Violation",
    "draw_settings",
    "run_seed",
    "shrink",
    "sweep",
]
