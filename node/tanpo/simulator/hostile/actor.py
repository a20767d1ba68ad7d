"""A corrupted validator: a real replica whose ears and mouth are in the adversary's hands."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, TypeAlias

from tanpo.consensus import Message
from tanpo.consensus.messages import Append, Heartbeat, Nudge, TermCertificate, Timeout
from tanpo.ledger.certificate import (
    QuorumCertificate,
    SignedKind,
    TimeoutCertificate,
    vote_bytes,
)
from tanpo.ledger.errors import InvariantViolation
from tanpo.ledger.types import BlockHash, Epoch, Height, Signature, Term, ValidatorIndex
from tanpo.simulator.addresses import list_others

if TYPE_CHECKING:
    from tanpo.simulator.process import Process

Outgoing: TypeAlias = tuple[tuple[ValidatorIndex, ...], Message]

CERTIFICATES_KEPT: Final = 40
OPENINGS_KEPT: Final = 8


class Conspiracy:
    """What all hostile validators of an epoch know together: whatever anyone showed one of them."""

    def __init__(self, base: QuorumCertificate) -> None:
        self.base = base
        self.certificates: deque[QuorumCertificate] = deque([base], maxlen=CERTIFICATES_KEPT)
        self.openings: dict[Term, TimeoutCertificate] = {}
        self.ballots: dict[tuple[SignedKind, Term, Height, BlockHash], dict[ValidatorIndex, Signature]] = {}

    def learn(self, message: Message) -> None:
        """Keep the certificates that a message shows."""
        match message:
            case Append(justify=justify, term_certificate=opening):
                self.keep(justify, opening)
            case Nudge(certificate=certificate):
                self.keep(certificate, None)
            case Timeout(high_qc=high, term_certificate=opening):
                self.keep(high, opening)
            case Heartbeat(high_qc=high, term_certificate=opening):
                self.keep(high, opening)
            case TermCertificate(certificate=opening):
                self.keep(opening.high_qc, opening)
            case _:
                pass

    def keep(self, certificate: QuorumCertificate, opening: TimeoutCertificate | None) -> None:
        """Remember a certificate, and what opened a term."""
        if certificate not in self.certificates:
            self.certificates.append(certificate)
        if opening is not None:
            self.openings[Term(opening.term + 1)] = opening
            while len(self.openings) > OPENINGS_KEPT:
                del self.openings[min(self.openings)]


class Behaviour:
    """One way to break the protocol. What is not overridden leaves everything as it is."""

    name = "honest"

    def hears(self, _actor: Actor, _sender: ValidatorIndex, _message: Message) -> bool:
        """Return whether the replica gets to see a message."""
        return True

    def rewrites(self, _actor: Actor, outgoing: Outgoing) -> Sequence[Outgoing]:
        """Return what is sent instead of a message."""
        return (outgoing,)

    def chooses(self, _actor: Actor, envelopes: list[bytes]) -> list[bytes]:
        """Return what goes into a block of ours instead of `envelopes`."""
        return envelopes

    def on_tick(self, _actor: Actor) -> None:
        """Act on one's own account."""


class Actor:
    """Joins a process to its behaviours, and gives them their tools. All conspirators share their keys."""

    def __init__(
        self, process: Process, conspiracies: dict[Epoch, Conspiracy], behaviours: Sequence[Behaviour]
    ) -> None:
        self.process = process
        self.cluster = process.cluster
        self.behaviours = tuple(behaviours)
        self.random = process.cluster.streams.get(f"hostile/{process.name}")
        self._conspiracies = conspiracies

    @property
    def conspiracy(self) -> Conspiracy:
        """What the conspirators of its epoch know."""
        known = self._conspiracies.get(self.epoch)
        if known is None:
            base = self.process.base_certificate
            known = self._conspiracies[self.epoch] = Conspiracy(base)
        return known

    @property
    def epoch(self) -> Epoch:
        """The epoch its replica serves."""
        return self.process.replica.epoch

    @property
    def index(self) -> ValidatorIndex:
        """The validator it is."""
        index = self.process.index
        if index is None:
            raise InvariantViolation("an observer has nothing to be hostile with")
        return index

    @property
    def term(self) -> Term:
        """The term its replica is in."""
        return self.process.replica.term

    def hears(self, sender: ValidatorIndex, epoch: Epoch, message: Message) -> bool:
        """Return whether the replica gets to see a message."""
        self._embolden()
        if self.process.index is None or epoch != self.epoch:
            return True
        self.conspiracy.learn(message)
        verdicts = [one.hears(self, sender, message) for one in self.behaviours]
        return all(verdicts)

    def rewrites(self, receivers: tuple[ValidatorIndex, ...], message: Message) -> list[Outgoing]:
        """Return what is sent instead of a message."""
        outgoing: list[Outgoing] = [(receivers, message)]
        if self.process.index is None:
            return outgoing
        for one in self.behaviours:
            outgoing = [changed for item in outgoing for changed in one.rewrites(self, item)]
        return outgoing

    def chooses(self, envelopes: list[bytes]) -> list[bytes]:
        """Return what goes into a block of ours."""
        for one in self.behaviours:
            envelopes = one.chooses(self, envelopes)
        return envelopes

    def on_tick(self) -> None:
        """Let every behaviour act."""
        self._embolden()
        if self.process.index is not None:
            for one in self.behaviours:
                one.on_tick(self)

    def _embolden(self) -> None:
        """Have the replica sign on, whatever it sees of its own key: the honest one would take it for amnesia
        and fall silent, and a twin is shown its sibling's votes all day."""
        core = self.process.replica._core
        core.has_amnesia = False
        core.inquiry = None

    def say(self, receivers: Sequence[ValidatorIndex], message: Message, act: str) -> None:
        """Send something the replica knows nothing of."""
        self.note(act)
        self.cluster.links.send(self.process, receivers, message)

    def note(self, act: str) -> None:
        """Count a hostile act."""
        self.cluster.luck.note(f"hostile/{act}")

    def list_conspirators(self) -> tuple[ValidatorIndex, ...]:
        """Return the validators of this epoch that are in the adversary's hands."""
        nodes = self.process.reign.nodes
        return tuple(ValidatorIndex(i) for i, node in enumerate(nodes) if node in self.cluster.hostile)

    def draw_audience(self) -> tuple[ValidatorIndex, ...]:
        """Return some of the other validators."""
        share = self.random.choice((0.3, 0.6, 0.8, 1))
        return tuple(index for index in list_others(self.process) if self.random.random() < share)

    def draw_certificate(self) -> QuorumCertificate:
        """Return a certificate that somebody once showed."""
        return self.random.choice(self.conspiracy.certificates)

    def sign_vote(
        self, index: int, kind: SignedKind, term: Term, height: Height, block_hash: BlockHash
    ) -> Signature:
        """Sign a vote as any of the conspirators."""
        message = vote_bytes(kind, self.cluster.network_id, self.epoch, term, height, block_hash)
        return self.process.reign.sign(index, message)
