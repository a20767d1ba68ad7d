"""Waiting for nodes: who is asked what, and what is said of one that ended."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from tanpo.cli import readiness
from tanpo.cli.layout import NodePlace
from tanpo.cli.readiness import Forgetful, Goal, LacksQuorum, Shortage, explain_end, wait_nodes
from tanpo.consensus.status import REJOINED
from tanpo.ledger.errors import Reason, Unavailable
from tanpo.node.promises import AMNESIA_REMEDY
from tanpo.storage.safety import REMEDY as DAMAGED_REMEDY

AMNESIA = f"amnesia: what this validator signed is forgotten; {AMNESIA_REMEDY}"
NO_QUORUM = "no quorum: 0 validators connected, 2 needed; missing dealer-b/node-1"


class Saying(BaseHTTPRequestHandler):
    """The operations' port of a node that always says the same."""

    said: tuple[str, ...] = ()

    def do_GET(self) -> None:
        self.send_response(503 if self.said else 200)
        self.end_headers()
        self.wfile.write(json.dumps({"obstacles": list(self.said)}).encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@contextmanager
def saying(*obstacles: str) -> Iterator[str]:
    with serving(type("Says", (Saying,), {"said": obstacles})) as address:
        yield address


class Starting(BaseHTTPRequestHandler):
    """The operations' port of a node that is ready when it is asked for the third time."""

    asked = 0
    ready_after = 2

    def do_GET(self) -> None:
        type(self).asked += 1
        is_ready = type(self).asked > self.ready_after
        self.send_response(200 if is_ready else 503)
        self.end_headers()
        self.wfile.write(json.dumps({"obstacles": [] if is_ready else ["starting"]}).encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def starting() -> Iterator[str]:
    Starting.asked, Starting.ready_after = 0, 2
    with serving(Starting) as address:
        yield address


def place(ops_address: str, member: str = "dealer-a") -> NodePlace:
    return NodePlace(member=member, node="node-1", address="a:1", peer_address="a:2", ops_address=ops_address)


def test_of_a_node_that_answers_nobody_asks_whether_it_runs(
    starting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "_PROBE_SECONDS", 60.0)  # However late it answers, it does.
    asked: list[NodePlace] = []

    def is_running(node: NodePlace) -> bool:
        asked.append(node)
        return False

    wait_nodes(
        [place(starting)], directory=Path("net"), is_running=is_running, explain=str, poll_seconds=0.001
    )

    assert (asked, Starting.asked) == ([], 3)


def test_a_node_that_ended_is_told_of_with_its_last_words() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        node = place(f"127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(Unavailable, match="the node of dealer-a ended: the disk is full") as caught:
            wait_nodes(
                [node],
                directory=Path("/srv/net"),
                is_running=lambda _: False,
                explain=lambda _: "the disk is full",
            )
    assert caught.value.reason is Reason.UNREACHABLE
    assert caught.value.remedy == "read more with `tanpo net logs dealer-a --dir /srv/net`"


@pytest.mark.timeout(60)
def test_nobody_is_waited_for_once_one_node_has_ended(starting: str) -> None:
    Starting.ready_after = 1_000_000
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        ended = place(f"127.0.0.1:{silent.getsockname()[1]}", member="dealer-b")
        with pytest.raises(Unavailable, match="the node of dealer-b ended: its volume is gone"):
            wait_nodes(
                [place(starting), ended],
                directory=Path("net"),
                is_running=lambda _: False,
                explain=lambda _: "its volume is gone",
                ready_seconds=3_600.0,
                poll_seconds=0.001,
            )


def wait(
    *nodes: NodePlace, goal: Goal = Goal.SETTLED, explained: str = "", shortage: Shortage | None = None
) -> None:
    """Wait for hours, if what is there does not end it."""
    wait_nodes(
        nodes,
        directory=Path("/srv/my net"),
        is_running=lambda _: False,
        explain=lambda _: explained,
        ready_seconds=3_600.0,
        goal=goal,
        poll_seconds=0.001,
        find_shortage=lambda waiting, forgetful: shortage,
    )


@pytest.mark.timeout(60)
def test_a_validator_that_forgot_is_not_waited_for_and_the_others_are(starting: str) -> None:
    with (
        saying(NO_QUORUM, AMNESIA) as lost,
        pytest.raises(Forgetful, match="dealer-b must not vote: amnesia") as told,
    ):
        wait(place(starting), place(lost, member="dealer-b"))

    assert (told.value.members, told.value.reason) == (("dealer-b",), Reason.DATA_CORRUPT)
    assert "`tanpo net up --rejoin dealer-b --dir '/srv/my net'`" in told.value.remedy
    assert Starting.asked == 3


def test_who_forgot_is_named_where_the_others_do_not_get_ready_in_time() -> None:
    with (
        saying(NO_QUORUM) as waiting,
        saying(AMNESIA) as lost,
        pytest.raises(Unavailable, match=r"not ready: no quorum: .*; dealer-b forgot what they signed"),
    ):
        wait_nodes(
            [place(waiting), place(lost, member="dealer-b")],
            directory=Path("net"),
            is_running=lambda _: True,
            explain=str,
            ready_seconds=0.01,
            poll_seconds=0.001,
        )


@pytest.mark.timeout(60)
def test_a_node_that_ended_for_what_its_validator_lost_may_rejoin_too() -> None:
    entry = {"event": "cannot go on", "why": "the consensus store is damaged", "remedy": DAMAGED_REMEDY}
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        ended = place(f"127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(Forgetful, match="dealer-a must not vote: the consensus store is damaged") as told:
            wait(ended, explained=explain_end(f"earlier\n{json.dumps(entry)}\n"))
    assert "--rejoin dealer-a" in told.value.remedy


@pytest.mark.timeout(60)
def test_one_that_rejoined_is_as_far_as_it_gets_and_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    with saying(f"{REJOINED} up to term 4, now 3") as silent:
        wait(place(silent))
        with pytest.raises(Unavailable, match="is not ready: rejoined: silent up to term 4, now 3"):
            wait_nodes(
                [place(silent)],
                directory=Path("net"),
                is_running=lambda _: True,
                explain=str,
                ready_seconds=0.01,
                poll_seconds=0.001,
            )


@pytest.mark.timeout(60)
def test_a_quorum_that_cannot_come_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "_SHORTAGE_SECONDS", 0.01)
    lacking = Shortage(validator_count=4, needed=3, stopped=("dealer-b", "trust-bank"), forgetful=())
    with (
        saying(NO_QUORUM) as waiting,
        pytest.raises(LacksQuorum, match="dealer-a runs, and waits for a quorum") as told,
    ):
        wait(place(waiting), shortage=lacking)

    assert (told.value.value, told.value.limit) == ("not running: dealer-b, trust-bank", "3 of 4 validators")
    assert told.value.remedy == "`tanpo net start dealer-b --dir '/srv/my net'`"


@pytest.mark.timeout(60)
def test_so_many_that_forgot_that_none_may_rejoin_are_told_no_such_thing() -> None:
    lacking = Shortage(validator_count=4, needed=3, stopped=(), forgetful=("dealer-a", "dealer-b"))
    with (
        saying(AMNESIA) as lost,
        pytest.raises(LacksQuorum, match="too many validators have forgotten") as told,
    ):
        wait(place(lost), place(lost, member="dealer-b"), shortage=lacking)

    assert "dealer-a, dealer-b" in told.value.message
    assert "--rejoin" not in told.value.remedy
