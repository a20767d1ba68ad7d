"""Asking the peers how they are, and what their clocks say, beside all that consensus does.

One peer may lie about its clock as about anything else. So a difference counts only when more than *f* peers
tell of it: then at least one of them is honest.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import grpc
import grpc.aio
from tanpo.api.v1 import peer_pb2, peer_pb2_grpc
from tanpo.ledger.errors import LedgerError, Reason, UsageError
from tanpo.ledger.genesis import Genesis
from tanpo.node.link_errors import explain_link_failure
from tanpo.node.peer_link import PeerAddress
from tanpo.node.pki import compute_host_name
from tanpo.node.tls import compute_peer_channel_options

SKEW_MAX_MS: Final = 60_000
"""How far this machine's clock may be off when a node starts: more is no drift but a wrong clock. Others
would refuse what it proposes, and its transactions would expire too early or too late."""

ANSWER_TIMEOUT_S: Final = 2.0
"""A peer that is not there refuses at once; one that hangs must not hold up a start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerVitals:
    """What a peer answered, or why it did not. `skew_ms` is how far our clock is ahead of its
    clock at least, whenever in between it was read."""

    name: str
    address: str
    problem: str = ""
    skew_ms: int = 0
    version: str = ""
    height: int = 0


async def survey_peers(peers: Sequence[PeerAddress], read_clock_ms: Callable[[], int]) -> list[PeerVitals]:
    """Ask all peers at once; whatever is the matter with one is in its answer."""
    return list(await asyncio.gather(*(_ask(peer, read_clock_ms) for peer in peers)))


def compute_skew(answers: Sequence[PeerVitals]) -> int | None:
    """Return how many ms our clock is ahead of that of an honest peer at least, None if too few answered."""
    faulty_max = len(answers) // 3
    skews = sorted(answer.skew_ms for answer in answers if not answer.problem)
    if len(skews) <= faulty_max:
        return None
    ahead, behind = max(0, skews[-1 - faulty_max]), min(0, skews[faulty_max])
    return ahead if ahead >= -behind else behind


def check_skew(answers: Sequence[PeerVitals]) -> LedgerError | None:
    """Return that this machine's clock is wrong by the word of more peers than may lie, or None."""
    skew_ms = compute_skew(answers)
    if skew_ms is None or abs(skew_ms) <= SKEW_MAX_MS:
        return None
    return UsageError(
        Reason.CLOCK_WRONG,
        f"this machine's clock is {abs(skew_ms) // 1000} s {describe_side(skew_ms)} the peers' clocks",
        value=f"{skew_ms} ms",
        limit=f"{SKEW_MAX_MS} ms either way",
        remedy="set the clock (NTP) and start again",
    )


def check_genesis_time(genesis: Genesis, now_ms: int) -> LedgerError | None:
    """Return that this machine's clock is before the network began, or None."""
    if now_ms + SKEW_MAX_MS >= genesis.time_ms:
        return None
    return UsageError(
        Reason.CLOCK_WRONG,
        f"this machine's clock is {(genesis.time_ms - now_ms) // 1000} s behind the network's genesis",
        value=now_ms,
        limit=f"at least {genesis.time_ms}",
        remedy="set the clock (NTP) and start again",
    )


def describe_side(skew_ms: int) -> str:
    """Return which side of the others a clock is on."""
    return "ahead of" if skew_ms > 0 else "behind"


def _compute_skew(sent_ms: int, theirs_ms: int, received_ms: int) -> int:
    """Return how far we are ahead at least: the peer read its clock between our two readings."""
    return sent_ms - theirs_ms if theirs_ms < sent_ms else min(0, received_ms - theirs_ms)


async def _ask(peer: PeerAddress, read_clock_ms: Callable[[], int]) -> PeerVitals:
    async with grpc.aio.secure_channel(
        peer.address, peer.credentials, options=compute_peer_channel_options(peer.member, peer.node)
    ) as channel:
        stub: Any = peer_pb2_grpc.PeerStub(channel)
        try:
            # Once to have the connection, and then to measure: a handshake takes longer than a clock drifts.
            await stub.GetVitals(peer_pb2.GetVitalsRequest(), timeout=ANSWER_TIMEOUT_S)
            sent_ms = read_clock_ms()
            answer = await stub.GetVitals(peer_pb2.GetVitalsRequest(), timeout=ANSWER_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            host_name = compute_host_name(peer.member, peer.node)
            why = explain_link_failure(error.code().name, error.details() or "", host_name)
            return PeerVitals(name=peer.label, address=peer.address, problem=why)
        return PeerVitals(
            name=peer.label,
            address=peer.address,
            skew_ms=_compute_skew(sent_ms, answer.clock_ms, read_clock_ms()),
            version=answer.software_version,
            height=answer.height,
        )
