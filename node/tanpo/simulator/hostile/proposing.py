"""Leaders that propose what they must not: two blocks for one, blocks that are wrong, blocks without some."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from enum import Enum
from hashlib import sha256
from typing import TYPE_CHECKING

from tanpo.consensus.messages import Append
from tanpo.ledger.block import EMPTY_ROOT, Block, BlockFlags, Header, compute_body_hash
from tanpo.ledger.certificate import QuorumCertificate, SignedKind
from tanpo.ledger.types import Height, MerkleRoot, StateRoot, Term, ValidatorIndex
from tanpo.simulator.addresses import list_others
from tanpo.simulator.application import BAD_PREFIX, build_payload
from tanpo.simulator.hostile.actor import Actor, Behaviour, Outgoing

if TYPE_CHECKING:
    from collections.abc import Callable

_LATE_MS = 20_000
_EARLY_MS = 3_000


class Dress(Enum):
    """What a proposal shows for the opening of its term."""

    GENUINE = "genuine"
    BARE = "bare"
    FORGED = "forged"


class Equivocate(Behaviour):
    """Shows one block to some and another of the same rank to the others, in either order."""

    name = "equivocate"

    def rewrites(self, actor: Actor, outgoing: Outgoing) -> Sequence[Outgoing]:
        """Split every proposal of ours."""
        receivers, message = outgoing
        if not isinstance(message, Append) or actor.random.random() < 0.3:
            return (outgoing,)
        actor.note(self.name)
        envelopes = message.block.envelopes
        other = envelopes[::-1] if len(envelopes) > 1 else (b"tx other %d" % message.block.header.height,)
        rival = forge(actor, message, envelopes=other)
        mixed = list(receivers)
        actor.random.shuffle(mixed)
        half = len(mixed) // 2
        left, right = tuple(mixed[:half]), tuple(mixed[half:])
        shown: list[Outgoing] = [(left, message), (right, rival)]
        if actor.random.random() < 0.5:
            shown += [(left, rival), (right, message)]
        return shown


class ProposeBad(Behaviour):
    """Proposes blocks that break a rule: bodies, times, roots, fields of the header."""

    name = "bad-blocks"

    def rewrites(self, actor: Actor, outgoing: Outgoing) -> Sequence[Outgoing]:
        """Spoil some of our proposals."""
        receivers, message = outgoing
        if not isinstance(message, Append) or actor.random.random() < 0.4:
            return (outgoing,)
        header = message.block.header
        changes: tuple[Callable[[], Append], ...] = (
            lambda: forge(actor, message, envelopes=(BAD_PREFIX,)),
            lambda: forge(actor, message, envelopes=(*message.block.envelopes, b"tx 0")),
            lambda: forge(actor, message, header=replace(header, time_ms=max(1, header.time_ms - _LATE_MS))),
            lambda: forge(actor, message, header=replace(header, time_ms=header.time_ms + _EARLY_MS)),
            lambda: forge(actor, message, header=replace(header, time_ms=_find_parent_time(actor, header))),
            lambda: forge(actor, message, header=replace(header, tx_root=MerkleRoot(bytes(32)))),
            lambda: forge(actor, message, header=replace(header, height=Height(header.height + 1))),
            lambda: forge(actor, message, header=replace(header, term=Term(header.term + 1))),
            lambda: forge(actor, message, header=replace(header, flags=BlockFlags.EPOCH_END)),
            lambda: forge(actor, message, header=replace(header, next_valset_hash=b"\x01" * 32)),
            lambda: forge(actor, message, header=_end_epoch(header)),
            lambda: replace(message, justify=actor.draw_certificate()),
            lambda: replace(message, term_certificate=None),
        )
        actor.note(self.name)
        return ((receivers, actor.random.choice(changes)()),)


class WrongRoots(Behaviour):
    """Claims other results than the contracts gave."""

    name = "wrong-roots"

    def rewrites(self, actor: Actor, outgoing: Outgoing) -> Sequence[Outgoing]:
        """Falsify the state root of some of our proposals."""
        receivers, message = outgoing
        if not isinstance(message, Append) or actor.random.random() < 0.4:
            return (outgoing,)
        actor.note(self.name)
        header = replace(message.block.header, state_root=StateRoot(b"\x07" * 32))
        return ((receivers, forge(actor, message, header=header)),)


class OpenTerm(Behaviour):
    """As leader of a new term, opens it again and again: on each certificate from the highest listed lock up,
    which a conspirator may be the only one to hold, or on those below it, as if there were no higher lock:
    with what opened the term, without, or with a forgery."""

    def __init__(self, name: str, *, is_below: bool) -> None:
        self.name = name
        self._is_below = is_below
        self._done: set[tuple[int, int, int, int]] = set()

    def rewrites(self, actor: Actor, outgoing: Outgoing) -> Sequence[Outgoing]:
        """Do not open the term as the rules want it."""
        _, message = outgoing
        is_opening = isinstance(message, Append) and message.term_certificate is not None
        return () if is_opening and self._find_next(actor) is not None else (outgoing,)

    def on_tick(self, actor: Actor) -> None:
        """Propose on the next certificate."""
        found = self._find_next(actor)
        if found is not None:
            self._done.add((actor.epoch, actor.term, *found.rank))
            dress = actor.random.choice(tuple(Dress)) if self._is_below else Dress.GENUINE
            propose(actor, actor.term, found, receivers=list_others(actor.process), dress=dress)

    def _find_next(self, actor: Actor) -> QuorumCertificate | None:
        term = actor.term
        opening = actor.conspiracy.openings.get(term)
        if opening is None or compute_leader(actor, term) != actor.index:
            return None
        known = {qc.rank: qc for qc in actor.conspiracy.certificates if qc.term < term}
        ranks = [rank for rank in known if (rank < opening.high_rank) is self._is_below]
        fresh = [rank for rank in ranks if (actor.epoch, term, *rank) not in self._done]
        if not fresh:
            return None
        return known[actor.random.choice(sorted(fresh)) if self._is_below else min(fresh)]


def open_twice() -> Behaviour:
    """Return one that opens a term on ever higher certificates."""
    return OpenTerm("open-twice", is_below=False)


def open_below() -> Behaviour:
    """Return one that opens a term below the highest listed lock."""
    return OpenTerm("open-below", is_below=True)


class Censor(Behaviour):
    """Passes over some transactions for ever, and puts all others into its blocks: it does make progress."""

    name = "censor"

    def chooses(self, actor: Actor, envelopes: list[bytes]) -> list[bytes]:
        """Leave out every other one, always the same."""
        kept = [envelope for envelope in envelopes if not is_passed_over(envelope)]
        if len(kept) < len(envelopes):
            actor.note(self.name)
        return kept


def is_passed_over(envelope: bytes) -> bool:
    """Whether censors leave a transaction out."""
    return sha256(envelope).digest()[0] & 1 == 0


def forge(
    actor: Actor, append: Append, *, header: Header | None = None, envelopes: tuple[bytes, ...] | None = None
) -> Append:
    """Return a proposal like another, with a header or a body of our own, and our signature on it."""
    changed = append.block.header if header is None else header
    body = append.block.envelopes
    if envelopes is not None:
        payload = build_payload(envelopes)
        body = payload.envelopes
        changed = replace(
            changed,
            tx_root=payload.tx_root,
            tx_count=payload.tx_count,
            body_hash=compute_body_hash(body, append.block.evidence),
        )
    block = Block.create(changed, body, append.block.evidence)
    actor.cluster.annals.note_block(block)
    signature = actor.sign_vote(
        actor.index, SignedKind.VOTE_PREPARE, changed.term, changed.height, block.block_hash
    )
    return replace(append, block=block, signature=signature)


def propose(
    actor: Actor,
    term: Term,
    justify: QuorumCertificate,
    *,
    receivers: Sequence[ValidatorIndex],
    dress: Dress,
) -> None:
    """Propose on a certificate, with something to show for the opening of the term."""
    roots = actor.cluster.annals.results.get(justify.block_hash)
    if justify.term > term or roots is None:
        return
    parent = actor.cluster.annals.blocks.get(justify.block_hash)
    if parent is not None and _is_last(actor, parent):
        if justify.term < term:
            _put_forward(actor, term, parent, justify, receivers, dress)  # once more (E4)
        return
    body = actor.random.choice(((), (b"tx forged %d" % actor.random.randrange(100),), (BAD_PREFIX,)))
    payload = build_payload(body)
    earliest = actor.cluster.genesis_ms if parent is None else parent.header.time_ms
    valset_hash = actor.process.reign.valset_hash
    is_end = roots.pending_valset is not None
    header = Header(
        network_id=actor.cluster.network_id,
        epoch=actor.epoch,
        term=term,
        height=Height(justify.height + 1),
        parent_hash=justify.block_hash,
        parent_term=justify.term,
        time_ms=max(actor.process.wall_ms, earliest + 1),
        proposer=actor.index,
        tx_root=payload.tx_root,
        tx_count=payload.tx_count,
        body_hash=compute_body_hash(payload.envelopes),
        state_root=roots.state_root,
        receipts_root=roots.receipts_root,
        valset_hash=valset_hash,
        next_valset_hash=roots.pending_valset or valset_hash,
        flags=BlockFlags.EPOCH_END if is_end else BlockFlags.NONE,
        evidence_root=EMPTY_ROOT,
    )
    block = Block.create(header, payload.envelopes)
    actor.cluster.annals.note_block(block)
    _put_forward(actor, term, block, justify, receivers, dress)


def _put_forward(
    actor: Actor,
    term: Term,
    block: Block,
    justify: QuorumCertificate,
    receivers: Sequence[ValidatorIndex],
    dress: Dress,
) -> None:
    signature = actor.sign_vote(
        actor.index, SignedKind.VOTE_PREPARE, term, block.header.height, block.block_hash
    )
    opening = None if dress is Dress.BARE else actor.conspiracy.openings.get(term)
    if opening is not None and dress is Dress.FORGED:
        # A forged opening: nobody seems to hold a higher lock than the certificate we extend.
        entries = tuple(
            replace(entry, high_term=justify.term, high_height=justify.height, high_hash=justify.block_hash)
            for entry in opening.entries
        )
        opening = replace(opening, entries=entries, high_qc=justify)
    append = Append(block=block, justify=justify, term_certificate=opening, signature=signature)
    actor.say(receivers, append, "propose-on-anything")


def _end_epoch(header: Header) -> Header:
    """Return the header with the marks of an epoch's end that nobody wanted."""
    return replace(header, flags=BlockFlags.EPOCH_END, next_valset_hash=b"\x01" * 32)


def _is_last(actor: Actor, block: Block) -> bool:
    return block.header.epoch == actor.epoch and bool(block.header.flags & BlockFlags.EPOCH_END)


def _find_parent_time(actor: Actor, header: Header) -> int:
    parent = actor.cluster.annals.blocks.get(header.parent_hash)
    return actor.cluster.genesis_ms if parent is None else parent.header.time_ms


def compute_leader(actor: Actor, term: int) -> int:
    """Return the leader of a term of the actor's epoch (S2)."""
    return (actor.epoch + term - 1) % actor.process.reign.validator_count
