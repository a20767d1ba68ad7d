"""Peers: one gRPC stream to every other validator, with bounded queues.

`send` never waits. What does not fit is dropped, oldest first: consensus repeats what matters, and a peer
that was away catches up by fetching blocks. Everything queued leaves in one frame, because a message of its
own costs 0.1 ms of CPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from tanpo.ledger.types import MemberId, ValidatorIndex


class Inbox(Protocol):
    """Where frames from peers go; the core implements it."""

    async def receive(
        self, sender: ValidatorIndex, messages: Sequence[bytes], envelopes: Sequence[bytes]
    ) -> None:
        """Take one frame; the peer's stream is read no further until this returns.

        Raises:
            PeerFault: the frame breaks the protocol; it is dropped and counted.
        """
        ...


class PeerTransport(Protocol):
    """What the core needs to reach other validators. Nothing here blocks."""

    def send(self, to: ValidatorIndex, message: bytes) -> None:
        """Queue a consensus message for one validator."""
        ...

    def broadcast(self, message: bytes) -> None:
        """Queue a consensus message for every other validator."""
        ...

    def share(self, envelopes: Sequence[bytes]) -> None:
        """Queue admitted envelopes for every other validator."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerState:
    """How a peer is doing, for operators."""

    member: MemberId
    node: str
    address: str
    is_connected: bool
    queued_bytes: int
    dropped_messages: int
    last_error: str
