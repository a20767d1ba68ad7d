"""A byzantine validator at work on one line: what it can sign, and which certificates it can put together."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tanpo.ledger.block import Block, BlockFlags
from tanpo.ledger.certificate import (
    QuorumCertificate,
    SignedKind,
    TimeoutCertificate,
    TimeoutEntry,
    base_certificate,
    compute_quorum,
    timeout_bytes,
    vote_bytes,
)
from tanpo.ledger.types import BlockHash, Epoch, Height, Signature, Term, ValidatorIndex
from tanpo.ledger.vote import Vote
from tanpo.testing.scenario.archive import GENESIS_HASH, NETWORK
from tanpo.testing.scenario.keys import sign
from tanpo.testing.scenario.reading import read_block, read_kind, read_names, read_term
from tanpo.testing.scenario.script import Step
from tanpo.testing.scenario.stage import Stage


@dataclass(frozen=True, slots=True)
class Forger:
    """One line's forger in one epoch, with all that byzantine validators know."""

    stage: Stage
    step: Step
    epoch: Epoch

    @property
    def names(self) -> tuple[str, ...]:
        """The validators of the epoch."""
        return self.stage.archive.sets[self.epoch]

    @property
    def name(self) -> str:
        """Who forges."""
        name = self.step.options["by"]
        if name not in self.stage.byzantine:
            raise self.step.fail(name, "is not byzantine: nobody else's key is at hand", self.stage.byzantine)
        return name

    def index_of(self, name: str) -> ValidatorIndex:
        """Return a validator's place in the epoch's set."""
        return self.stage.index_of(name, self.epoch)

    def read_block(self, name: str) -> Block:
        """Return the block with this name, which is not genesis."""
        block = read_block(self.stage, self.step, name)
        if block is None:
            raise self.step.fail(name, "was never proposed", self.stage.archive.names)
        return block

    def read_claim(self, name: str) -> tuple[Term, Height, BlockHash]:
        """Return term, height and hash of a block. What the epoch starts from has term 0 in it."""
        block = read_block(self.stage, self.step, name)
        if block is None:
            return Term(0), Height(0), GENESIS_HASH
        header = block.header
        is_base = header.epoch + 1 == self.epoch and bool(header.flags & BlockFlags.EPOCH_END)
        return Term(0) if is_base else header.term, header.height, block.block_hash

    def sign_vote(self, name: str, kind: SignedKind, block: Block) -> Vote:
        """Return a byzantine validator's vote."""
        header = block.header
        message = vote_bytes(kind, NETWORK, self.epoch, header.term, header.height, block.block_hash)
        return Vote(
            kind=kind,
            validator=self.index_of(name),
            term=header.term,
            height=header.height,
            block_hash=block.block_hash,
            signature=sign(name, message),
        )

    def sign_entry(self, name: str, term: Term, lock: QuorumCertificate) -> TimeoutEntry:
        """Return a byzantine validator's timeout."""
        message = timeout_bytes(NETWORK, self.epoch, term, lock.term, lock.height, lock.block_hash)
        return TimeoutEntry(
            validator=self.index_of(name),
            high_term=lock.term,
            high_height=lock.height,
            high_hash=lock.block_hash,
            signature=sign(name, message),
        )

    def find_certificate(self, name: str, kind: SignedKind = SignedKind.VOTE_PREPARE) -> QuorumCertificate:
        """Return a forged certificate by its name, or the one for a block, put together if need be."""
        knowledge = self.stage.knowledge
        if name in knowledge.named_certificates:
            return knowledge.named_certificates[name]
        term, height, block_hash = self.read_claim(name)
        if term == 0:
            return base_certificate(self.epoch, height, block_hash)
        known = knowledge.certificates.get((kind, block_hash))
        if known is not None:
            return known
        block = self.read_block(name)
        votes = dict(knowledge.votes.get((kind, term, block_hash), {}))
        for one in self.stage.byzantine:
            votes[self.index_of(one)] = self.sign_vote(one, kind, block).signature
        if len(votes) < compute_quorum(len(self.names)):
            seen = " ".join(self.names[index] for index in sorted(votes))
            raise self.step.fail(name, f"cannot be certified with the votes of {seen} alone")
        return self.build_certificate(kind, block, tuple((index, votes[index]) for index in sorted(votes)))

    def build_certificate(
        self, kind: SignedKind, block: Block, signatures: tuple[tuple[ValidatorIndex, Signature], ...]
    ) -> QuorumCertificate:
        """Return a certificate over whatever signatures are given: as valid as they are."""
        return QuorumCertificate(
            kind=kind,
            epoch=self.epoch,
            term=block.header.term,
            height=block.header.height,
            block_hash=block.block_hash,
            signatures=signatures,
        )

    def find_opening(self, term: Term) -> TimeoutCertificate | None:
        """Return the opening that `opening=` names, or the one of a term; None for `opening=none`."""
        knowledge, name = self.stage.knowledge, self.step.options.get("opening", str(term))
        if name == "none":
            return None
        if name in knowledge.named_openings:
            return knowledge.named_openings[name]
        found = knowledge.openings.get((self.epoch, Term(int(name)))) if name.isdecimal() else None
        if found is None:
            terms = [str(one) for epoch, one in sorted(knowledge.openings) if epoch == self.epoch]
            raise self.step.fail(name, "is no known opening", ["none", *terms, *knowledge.named_openings])
        return found


def forge_certificate(forger: Forger) -> QuorumCertificate:
    """Return a certificate over votes that were seen, repeated or made up as the step says."""
    stage, step = forger.stage, forger.step
    block, kind = forger.read_block(step.options["for"]), read_kind(step)
    seen = stage.knowledge.votes.get((kind, block.header.term, block.block_hash), {})
    signatures: list[tuple[ValidatorIndex, Signature]] = []
    for name in step.options["signers"].split(","):
        signer = name.removesuffix("?")
        index = forger.index_of(read_names(stage, step, signer)[0])
        if signer in stage.byzantine or name != signer:
            liar = signer if signer in stage.byzantine else stage.byzantine[0]
            signatures.append((index, forger.sign_vote(liar, kind, block).signature))
        elif index in seen:
            signatures.append((index, seen[index]))
        else:
            known = [forger.names[one] for one in sorted(seen)]
            raise step.fail(signer, f"is not known to have voted for {step.options['for']}", known)
    return forger.build_certificate(kind, block, tuple(signatures))


def forge_opening(forger: Forger) -> TimeoutCertificate:
    """Return a term certificate over timeouts that were seen, perhaps with a lower lock than they name."""
    step, term, options = forger.step, read_term(forger.step), forger.step.options
    seen = forger.stage.knowledge.timeouts.get((forger.epoch, term), {})
    timeouts = []
    for name in read_names(forger.stage, step, options["signers"]):
        timeout = seen.get(forger.index_of(name))
        if timeout is None:
            known = [forger.names[one] for one in sorted(seen)]
            raise step.fail(name, f"is not known to have given up term {term}", known)
        timeouts.append(timeout)
    entries = tuple(timeout.entry for timeout in timeouts)
    high_qc = max((timeout.high_qc for timeout in timeouts), key=lambda one: one.rank)
    if "showing" in options:
        high_qc = forger.find_certificate(options["showing"])
    if "pretending" in options:
        high_qc = forger.find_certificate(options["pretending"])
        entries = tuple(_pretend(forger, term, entry, high_qc) for entry in entries)
    return TimeoutCertificate(epoch=forger.epoch, term=term, entries=entries, high_qc=high_qc)


def _pretend(forger: Forger, term: Term, entry: TimeoutEntry, lock: QuorumCertificate) -> TimeoutEntry:
    """Put another lock into an entry. Only a byzantine signer can sign it anew."""
    name = forger.names[entry.validator]
    if name in forger.stage.byzantine:
        return forger.sign_entry(name, term, lock)
    return replace(entry, high_term=lock.term, high_height=lock.height, high_hash=lock.block_hash)
