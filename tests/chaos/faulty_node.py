"""A node that misbehaves, for benches only: `python faulty_node.py OPTIONS CONFIG`.

It is the real node with one part put in the place of another: a clock that is wrong, a limit on its files,
a certificate that nobody should believe, or a replica and links that lie. Nothing of this is in what ships.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import resource
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from tanpo.consensus import Broadcast, Effect, Event, Received, Replica, Send, Ticked
from tanpo.consensus.messages import Append, AppendReply, Heartbeat, Nudge, Suspect, Timeout
from tanpo.ledger.block import Block
from tanpo.ledger.certificate import (
    QuorumCertificate,
    SignedKind,
    compute_quorum,
    timeout_bytes,
    vote_bytes,
)
from tanpo.ledger.types import Term, ValidatorIndex
from tanpo.ledger.vote import Vote
from tanpo.node.clock import Clock
from tanpo.node.credentials import NodeCredentials
from tanpo.node.peer_link import Inbox
from tanpo.node.transport import GrpcTransport
from tanpo.testing.chaos.steps import Behaviour

FLOOD_S: Final = 0.05
FLOOD_MESSAGES: Final = 4
"""Garbage for each peer every `FLOOD_S`: enough to be a nuisance, bounded for the machine's sake."""
FLOOD_BYTES_MAX: Final = 20_000
TERMS_AHEAD: Final = 1_000_000


class LyingReplica(Replica):
    """A replica whose messages are distorted on their way out. What it stores is what an honest one would."""

    __slots__ = ("_config", "_first_qc", "_signer", "_votes")
    behaviour = Behaviour.EQUIVOCATE

    def __init__(self, config: Any, checker: Any, signer: Any, payloads: Any, start: Any) -> None:
        super().__init__(config, checker, signer, payloads, start)
        self._config = config
        self._signer = signer
        self._first_qc: QuorumCertificate | None = None
        self._votes = 0

    def step(self, event: Event) -> list[Effect]:
        effects = [lie for effect in super().step(event) for lie in self._distort(effect)]
        if isinstance(event, Received) and isinstance(event.message, Append):
            self._first_qc = self._first_qc or event.message.justify
            if self.behaviour is Behaviour.EQUIVOCATE:
                effects.append(Send(to=event.sender, message=self._vote_for(event.message.block)))
        if isinstance(event, Ticked) and self.behaviour is Behaviour.FLOOD:
            effects.append(Broadcast(message=Suspect(term=Term(self.term + TERMS_AHEAD))))
        return effects

    def _distort(self, effect: Effect) -> Sequence[Effect]:
        match self.behaviour, effect:
            case Behaviour.EQUIVOCATE, Broadcast(message=Append() as proposal):
                return self._equivocate(proposal)
            case Behaviour.WITHHOLD, Send(message=AppendReply()):
                return ()
            case Behaviour.WITHHOLD, Broadcast(message=Append() | Nudge() as message):
                # Enough hear of it that it may be certified, and nobody else ever.
                heard = compute_quorum(self._config.validator_count) - 1
                return [Send(to=to, message=message) for to in self._others()[:heard]]
            case Behaviour.WITHHOLD, Broadcast(message=Heartbeat()):
                return ()
            case Behaviour.LIE, Broadcast(message=Timeout() as timeout):
                return (Broadcast(message=self._hide_lock(timeout)),)
            case _:
                return (effect,)

    def _equivocate(self, proposal: Append) -> Sequence[Effect]:
        """Show one block to half of the others and its twin to the rest; or both to all, in either order."""
        twin = self._twin(proposal)
        others = self._others()
        half = len(others) // 2
        if proposal.block.header.height % 3 == 1:
            return [Send(to=to, message=one) for to in others for one in (proposal, twin)]
        return [
            Send(to=to, message=proposal if position < half else twin) for position, to in enumerate(others)
        ]

    def _twin(self, proposal: Append) -> Append:
        block = proposal.block
        header = replace(block.header, time_ms=block.header.time_ms + 1)
        other = Block.create(header, block.envelopes, block.evidence)
        return replace(proposal, block=other, signature=self._sign(SignedKind.VOTE_PREPARE, other).signature)

    def _vote_for(self, block: Block) -> AppendReply:
        """Vote for whatever is proposed, whatever was voted for before."""
        vote = self._sign(SignedKind.VOTE_PREPARE, block)
        return AppendReply(vote=vote)

    def _sign(self, kind: SignedKind, block: Block) -> Vote:
        header, config = block.header, self._config
        message = vote_bytes(
            kind, config.network_id, config.epoch, header.term, header.height, block.block_hash
        )
        return Vote(
            kind=kind,
            validator=config.validator,
            term=header.term,
            height=header.height,
            block_hash=block.block_hash,
            signature=self._signer(message),
        )

    def _hide_lock(self, timeout: Timeout) -> Timeout:
        """Claim to know no certificate but the first that we ever saw."""
        high = self._first_qc
        if high is None or high.rank >= timeout.high_qc.rank:
            return timeout
        config = self._config
        message = timeout_bytes(
            config.network_id, config.epoch, timeout.term, high.term, high.height, high.block_hash
        )
        entry = replace(
            timeout.entry,
            high_term=high.term,
            high_height=high.height,
            high_hash=high.block_hash,
            signature=self._signer(message),
        )
        return replace(timeout, entry=entry, high_qc=high)

    def _others(self) -> list[ValidatorIndex]:
        count, own = self._config.validator_count, self._config.validator
        return [ValidatorIndex(index) for index in range(count) if index != own]


class FloodingTransport(GrpcTransport):
    """Links that carry garbage beside, and after, what the replica says."""

    async def start(self, inbox: Inbox) -> None:
        await super().start(inbox)
        self._flood = asyncio.create_task(self._pour())

    async def stop(self) -> None:
        self._flood.cancel()
        await asyncio.gather(self._flood, return_exceptions=True)
        await super().stop()

    def send(self, to: str, message: bytes) -> None:
        super().send(to, message)
        position = random.randrange(len(message))
        super().send(to, message[:position] + bytes([message[position] ^ 1]) + message[position + 1 :])
        super().send(to, message[:position])

    async def _pour(self) -> None:
        while True:
            for name in [*self.connected()] * FLOOD_MESSAGES:
                super().send(name, os.urandom(random.randrange(1, FLOOD_BYTES_MAX)))
                self.share(name, [os.urandom(random.randrange(1, FLOOD_BYTES_MAX))])
            await asyncio.sleep(FLOOD_S)


def misbehave(behaviour: Behaviour) -> None:
    """Put lying parts in the place of honest ones, in this process."""
    import tanpo.node.app
    import tanpo.node.succession

    LyingReplica.behaviour = behaviour
    tanpo.node.succession.Replica = LyingReplica  # type: ignore[attr-defined]  # this process alone, to lie
    if behaviour is Behaviour.FLOOD:
        tanpo.node.app.GrpcTransport = FloodingTransport  # type: ignore[attr-defined]  # this process alone, to lie


def leave_room(config: Path, room_bytes: int) -> None:
    """Let no file of this process grow far beyond the largest segment there is."""
    largest = max((path.stat().st_size for path in (config.parent / "data" / "blocks").glob("*")), default=0)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest + room_bytes,) * 2)


def present(certificate: Path) -> None:
    """Let this process show a TLS certificate without asking whether it is any good; its key is beside it."""
    import tanpo.node.app

    load = tanpo.node.app.load_credentials  # type: ignore[attr-defined]  # this process alone, to lie

    def load_other(*arguments: Any) -> NodeCredentials:
        return replace(
            load(*arguments),
            certificate=certificate.read_bytes(),
            private_key=certificate.with_suffix(".key").read_bytes(),
        )

    tanpo.node.app.load_credentials = load_other  # type: ignore[attr-defined, assignment]  # as above


def make_clock(skew_ms: int) -> Clock:
    """Return this machine's clock, wrong by `skew_ms`."""
    true = Clock.system()
    return Clock(wall_ms=lambda: true.wall_ms() + skew_ms, monotonic_ms=true.monotonic_ms)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--skew-ms", type=int, default=0)
    parser.add_argument("--room-bytes", type=int)
    parser.add_argument("--behaviour", type=Behaviour)
    parser.add_argument("--certificate", type=Path)
    parser.add_argument("config", type=Path)
    options = parser.parse_args()
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from tanpo.node.app import run_node

    if options.behaviour is not None:
        misbehave(options.behaviour)
    if options.certificate is not None:
        present(options.certificate)
    if options.room_bytes is not None:
        leave_room(options.config, options.room_bytes)
    return run_node(options.config, make_clock(options.skew_ms))


if __name__ == "__main__":
    sys.exit(main())
