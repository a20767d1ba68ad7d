"""Waiting for nodes: who is asked what, and what is said of one that ended."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from tanpo.cli import readiness
from tanpo.cli.layout import NodePlace
from tanpo.cli.readiness import wait_nodes
from tanpo.ledger.errors import Reason, Unavailable


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
    with ThreadingHTTPServer(("127.0.0.1", 0), Starting) as server:
        serving = Thread(target=server.serve_forever)
        serving.start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        serving.join()


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
