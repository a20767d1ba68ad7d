"""What every test run shares: Hypothesis never measures time, and shows what it tried when it fails; what a
test starts can be interrupted, also when the tests run in the background; workers begin with long tests;
ports of a network stay its own."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby

import pytest
from hypothesis import HealthCheck, settings
from tanpo.cli.ports import PortSlot

LONG_S = 150
"""A test that asks for more time than this is one of a whole network, or takes as long as one."""

settings.register_profile(
    "tanpo", deadline=None, print_blob=True, max_examples=60, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("tanpo")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell has what it starts in the background ignore Ctrl-C, and what is ignored stays so across a start.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="module", autouse=True)
def kept_ports() -> Iterator[None]:
    """Keep the slots of ports that networks have claimed, until a module's tests are over.

    A network gives up its claim once its nodes listen. Were all of them down for a moment, another test's
    network might take the slot, and they could not come back.
    """
    kept: list[PortSlot] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PortSlot, "release", lambda slot: kept.append(slot))
        yield
    for slot in kept:
        slot.release()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deal the files out to the workers, the long ones first.

    With `--dist worksteal` each worker begins with its part of the list, and takes from another's end when it
    is done: what is left then are short tests, so that none works on alone. Files stay whole, for what their
    tests share.
    """
    workers = int(getattr(config, "workerinput", {}).get("workercount", 1))
    if workers == 1:
        return
    files = [list(group) for _, group in groupby(items, key=lambda item: item.path)]
    long, short = [file for file in files if _is_long(file)], [file for file in files if not _is_long(file)]
    hands = [_Hand(long=long[number::workers]) for number in range(workers)]
    for file in sorted(short, key=len, reverse=True):
        min(hands, key=lambda hand: hand.count).short.append(file)
    items[:] = [item for hand in hands for file in hand.sort() for item in file]


@dataclass(slots=True, kw_only=True)
class _Hand:
    """The files that one worker begins with."""

    long: list[list[pytest.Item]]
    short: list[list[pytest.Item]] = field(default_factory=list)

    @property
    def count(self) -> int:
        return sum(map(len, [*self.long, *self.short]))

    def sort(self) -> list[list[pytest.Item]]:
        # A file of many tests is one of very short tests: those come last.
        return [*self.long, *sorted(self.short, key=len)]


def _is_long(file: list[pytest.Item]) -> bool:
    marks = [mark for item in file for mark in item.iter_markers("timeout")]
    return any(mark.args[0] > LONG_S for mark in marks)
