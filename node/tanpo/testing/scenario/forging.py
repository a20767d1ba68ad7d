"""Messages that a byzantine validator makes up: signed with its own key, from what it was shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from typing import Final

from tanpo.consensus import messages
from tanpo.consensus.messages import Message
from tanpo.ledger.block import EMPTY_ROOT, Block, BlockFlags, Header, compute_body_hash
from tanpo.ledger.certificate import CommitProof, SignedKind, step_down_bytes, vote_bytes
from tanpo.ledger.merkle import compute_merkle_root
from tanpo.ledger.types import BlockHash, Epoch, Height, Signature, StateRoot, Term
from tanpo.testing.scenario.archive import GENESIS_MS, NETWORK, State
from tanpo.testing.scenario.forger import Forger, forge_certificate, forge_opening
from tanpo.testing.scenario.keys import compute_valset_hash, sign
from tanpo.testing.scenario.process import Outgoing
from tanpo.testing.scenario.reading import (
    read_duration_ms,
    read_kind,
    read_names,
    read_number,
    read_process,
    read_term,
)
from tanpo.testing.scenario.script import Step
from tanpo.testing.scenario.stage import Stage


def forge(stage: Stage, step: Step) -> None:
    """Make up what the step says, and let it arrive at once."""
    name, knowledge = step.name.split()[1], stage.knowledge
    number = step.options.get("epoch")
    epoch = stage.epoch if number is None else Epoch(read_number(step, "epoch", number))
    if epoch not in stage.archive.sets:
        raise step.fail(f"epoch={epoch}", "has not begun", [str(one) for one in stage.archive.sets])
    forger = Forger(stage, step, epoch)
    if name == "certificate":
        knowledge.named_certificates[step.words[0]] = forge_certificate(forger)
    elif name == "opening":
        knowledge.named_openings[step.words[0]] = forge_opening(forger)
    else:
        _send(forger, _FORGERIES[name](forger))


def _send(forger: Forger, message: Message) -> None:
    stage, step, name = forger.stage, forger.step, forger.name
    stage.knowledge.absorb(forger.epoch, forger.index_of(name), message)
    for receiver in read_names(stage, step, step.options["to"]):
        if receiver in stage.byzantine:
            continue
        key = read_process(stage, step, receiver).key
        letters = stage.post(name, name, Outgoing(to=(key,), epoch=forger.epoch, message=message))
        stage.network.take(letters)
        for letter in letters:
            stage.arrive(letter)


def _forge_proposal(forger: Forger) -> Message:
    stage, step, options = forger.stage, forger.step, forger.step.options
    parent_term, parent_height, parent_hash = forger.read_claim(options["on"])
    term = read_term(step) if "term" in options else max(parent_term, Term(1))
    justify = forger.find_certificate(options.get("certificate", options["on"]))
    height = read_number(step, "height", options["height"]) if "height" in options else parent_height + 1
    header = replace(
        _build_header(forger, parent_hash), term=term, height=Height(height), parent_term=parent_term
    )
    # A name that is known already means that very block, sent once more.
    block = stage.archive.find(step.words[0]) or Block.create(header, _read_envelopes(step))
    name = stage.archive.note(block, step.words[0])
    if name != step.words[0]:
        raise step.fail(step.words[0], f"is the same block as {name}: give it another tx=")
    opening = forger.find_opening(term) if parent_term < term and term > 1 else None
    vote = forger.sign_vote(forger.name, SignedKind.VOTE_PREPARE, block)
    return messages.Append(block=block, justify=justify, term_certificate=opening, signature=vote.signature)


def _build_header(forger: Forger, parent_hash: BlockHash) -> Header:
    step, archive = forger.step, forger.stage.archive
    state = archive.find_state(parent_hash)
    if state is None:
        raise step.fail(step.options["on"], "has no known results: execute its parents first")
    parent = archive.find(step.options["on"])
    now_ms = GENESIS_MS + forger.stage.clock.now_ms
    time_ms = max(now_ms, 0 if parent is None else parent.header.time_ms + 1)
    if "time" in step.options:
        time_ms = now_ms + read_duration_ms(step, step.options["time"])
    envelopes, valset_hash = _read_envelopes(step), compute_valset_hash(forger.names)
    claimed = step.options.get("root")
    following = _read_next(step, state)
    return Header(
        network_id=NETWORK,
        epoch=forger.epoch,
        term=Term(0),
        height=Height(0),
        parent_hash=parent_hash,
        parent_term=Term(0),
        time_ms=time_ms,
        proposer=forger.index_of(forger.name),
        tx_root=compute_merkle_root(envelopes),
        tx_count=len(envelopes),
        body_hash=compute_body_hash(envelopes),
        state_root=state.root if claimed is None else StateRoot(sha256(claimed.encode()).digest()),
        receipts_root=state.roots.receipts_root,
        valset_hash=valset_hash,
        next_valset_hash=valset_hash if following is None else compute_valset_hash(following),
        flags=BlockFlags.NONE if following is None else BlockFlags.EPOCH_END,
        evidence_root=EMPTY_ROOT,
    )


def _forge_repeat(forger: Forger) -> Message:
    """The last block of an epoch once more, as the first of a later term (E4)."""
    step, term = forger.step, read_term(forger.step)
    block = forger.read_block(step.words[0])
    height = block.header.height
    message = vote_bytes(SignedKind.VOTE_PREPARE, NETWORK, forger.epoch, term, height, block.block_hash)
    return messages.Append(
        block=block,
        justify=forger.find_certificate(step.options.get("certificate", step.words[0])),
        term_certificate=forger.find_opening(term),
        signature=sign(forger.name, message),
    )


def _forge_vote(forger: Forger) -> Message:
    step = forger.step
    block = forger.read_block(step.words[0])
    vote = forger.sign_vote(forger.name, read_kind(step), block)
    if "in-name-of" in step.options:
        vote = replace(vote, validator=forger.index_of(step.options["in-name-of"]))
    if step.options.get("signature", "good") == "bad":
        vote = replace(vote, signature=Signature(b"no signature"))
    return messages.AppendReply(vote=vote)


def _forge_timeout(forger: Forger) -> Message:
    step, term = forger.step, read_term(forger.step)
    lock = forger.find_certificate(step.options["lock"])
    opening = forger.stage.knowledge.openings.get((forger.epoch, term))
    if "opening" in step.options:
        opening = forger.find_opening(term)
    entry = forger.sign_entry(forger.name, term, lock)
    return messages.Timeout(term=term, entry=entry, high_qc=lock, term_certificate=opening)


def _forge_nudge(forger: Forger) -> Message:
    return messages.Nudge(certificate=forger.find_certificate(forger.step.options["certificate"]))


def _forge_heartbeat(forger: Forger) -> Message:
    options = forger.step.options
    certificate = forger.find_certificate(options.get("certificate", "genesis"))
    proof: CommitProof | None = None
    if "proof" in options:
        proof = CommitProof(certificate=forger.find_certificate(options["proof"], SignedKind.VOTE_COMMIT))
    term = read_term(forger.step) if "term" in options else Term(max(1, certificate.term))
    opening = forger.find_opening(term) if "opening" in options else None
    return messages.Heartbeat(term=term, high_qc=certificate, commit_proof=proof, term_certificate=opening)


def _forge_suspect(forger: Forger) -> Message:
    return messages.Suspect(term=read_term(forger.step))


def _forge_step_down(forger: Forger) -> Message:
    term = read_term(forger.step)
    signature = sign(forger.name, step_down_bytes(NETWORK, forger.epoch, term))
    return messages.StepDown(term=term, signature=signature)


def _forge_term_certificate(forger: Forger) -> Message:
    opening = forger.find_opening(Term(0))
    if opening is None:
        raise forger.step.fail("none", "is no opening to send", ["opening=NAME", "opening=TERM"])
    return messages.TermCertificate(certificate=opening)


def _forge_block(forger: Forger) -> Message:
    return messages.BlockAnswer(block=forger.read_block(forger.step.words[0]))


def _forge_committed(forger: Forger) -> Message:
    options = forger.step.options
    blocks = tuple(forger.read_block(word) for word in forger.step.words)
    child = forger.read_block(options["child"]).header if "child" in options else None
    kind = SignedKind.VOTE_COMMIT if child is None else SignedKind.VOTE_PREPARE
    proof = CommitProof(certificate=forger.find_certificate(options["certificate"], kind), child=child)
    return messages.Committed(blocks=blocks, headers=(), proof=proof)


_FORGERIES: Final[dict[str, Callable[[Forger], Message]]] = {
    "proposal": _forge_proposal,
    "repeat": _forge_repeat,
    "vote": _forge_vote,
    "timeout": _forge_timeout,
    "nudge": _forge_nudge,
    "heartbeat": _forge_heartbeat,
    "suspect": _forge_suspect,
    "step-down": _forge_step_down,
    "term-certificate": _forge_term_certificate,
    "block": _forge_block,
    "committed": _forge_committed,
}


def _read_next(step: Step, state: State) -> tuple[str, ...] | None:
    """Return the validators that the block puts in force: those that the state wants, or others."""
    named = step.options.get("next")
    if named is None:
        return state.wanted
    return None if named == "none" else tuple(named.split(","))


def _read_envelopes(step: Step) -> tuple[bytes, ...]:
    names = step.options.get("tx", "")
    return tuple(name.encode() for name in names.split("+") if name)
