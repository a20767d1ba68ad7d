"""Whatever well-formed messages a peer invents: a replica neither raises, nor commits, nor moves."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tanpo.consensus import (
    CommitBlock,
    Halt,
    Payload,
    Received,
    Replica,
    ReplicaConfig,
    Ticked,
    genesis_start,
)
from tanpo.consensus.messages import (
    Append,
    AppendReply,
    BlockAnswer,
    Committed,
    GetBlock,
    GetCommitted,
    GetStatus,
    Heartbeat,
    Nudge,
    Status,
    StepDown,
    Suspect,
    TermCertificate,
    Timeout,
)
from tanpo.ledger.block import EMPTY_ROOT, Block, BlockFlags, Header, compute_body_hash
from tanpo.ledger.certificate import (
    CommitProof,
    QuorumCertificate,
    SignedKind,
    TimeoutCertificate,
    TimeoutEntry,
    genesis_certificate,
)
from tanpo.ledger.genesis import Parameters
from tanpo.ledger.types import Epoch, NetworkId, Signature, StateRoot, ValidatorIndex
from tanpo.ledger.vote import Vote

NETWORK = NetworkId(sha256(b"fuzzed").digest())
SMALL: Any = st.integers(0, 3)
HASHES: Any = st.sampled_from([NETWORK, bytes(32), b"\x01" * 32])
KINDS: Any = st.sampled_from([SignedKind.VOTE_PREPARE, SignedKind.VOTE_COMMIT])
FORGED = Signature(b"forged")


class Refusing:
    """Every forged signature is found out."""

    validator_count = 4

    def verify(self, validator: ValidatorIndex, message: bytes, signature: Signature) -> bool:
        return signature != FORGED


class Empty:
    def select(self, ancestors: Any, time_ms: int, limits: Parameters) -> Payload:
        return Payload(envelopes=(), tx_root=EMPTY_ROOT, tx_count=0)


CERTIFICATES: Any = st.just(genesis_certificate(NETWORK)) | st.builds(
    QuorumCertificate,
    kind=KINDS,
    epoch=st.integers(0, 1),
    term=SMALL,
    height=SMALL,
    block_hash=HASHES,
    signatures=st.sampled_from([(), ((0, FORGED), (1, FORGED), (2, FORGED)), ((2, FORGED), (1, FORGED))]),
)
ENTRIES: Any = st.builds(
    TimeoutEntry,
    validator=SMALL,
    high_term=SMALL,
    high_height=SMALL,
    high_hash=HASHES,
    signature=st.just(FORGED),
)
TERM_CERTIFICATES: Any = st.builds(
    TimeoutCertificate,
    epoch=st.integers(0, 1),
    term=SMALL,
    entries=st.lists(ENTRIES, min_size=1, max_size=4).map(tuple),
    high_qc=CERTIFICATES,
)
BLOCKS: Any = st.builds(
    Header,
    network_id=HASHES,
    epoch=st.integers(0, 1),
    term=SMALL,
    height=SMALL,
    parent_hash=HASHES,
    parent_term=SMALL,
    time_ms=st.integers(0, 3000),
    proposer=SMALL,
    tx_root=st.just(EMPTY_ROOT),
    tx_count=st.just(0),
    body_hash=st.just(compute_body_hash(())),
    state_root=HASHES,
    receipts_root=HASHES,
    valset_hash=st.just(bytes(32)),
    next_valset_hash=st.just(bytes(32)),
    flags=st.sampled_from(BlockFlags),
    evidence_root=st.just(EMPTY_ROOT),
).map(lambda header: Block.create(header, ()))
VOTES: Any = st.builds(
    Vote,
    kind=KINDS,
    validator=SMALL,
    term=SMALL,
    height=SMALL,
    block_hash=HASHES,
    signature=st.just(FORGED),
)
PROOFS: Any = st.builds(
    CommitProof, certificate=CERTIFICATES, child=st.none() | BLOCKS.map(lambda block: block.header)
)
MESSAGES: Any = st.one_of(
    st.builds(
        Append,
        block=BLOCKS,
        justify=CERTIFICATES,
        term_certificate=st.none() | TERM_CERTIFICATES,
        signature=st.just(FORGED),
    ),
    st.builds(AppendReply, vote=VOTES),
    st.builds(Nudge, certificate=CERTIFICATES),
    st.builds(
        Heartbeat,
        term=SMALL,
        high_qc=CERTIFICATES,
        commit_proof=st.none() | PROOFS,
        term_certificate=st.none() | TERM_CERTIFICATES,
    ),
    st.builds(
        Timeout,
        term=SMALL,
        entry=ENTRIES,
        high_qc=CERTIFICATES,
        term_certificate=st.none() | TERM_CERTIFICATES,
    ),
    st.builds(TermCertificate, certificate=TERM_CERTIFICATES),
    st.builds(Suspect, term=st.just(9)),
    st.builds(StepDown, term=SMALL, signature=st.just(FORGED)),
    st.builds(GetStatus, nonce=SMALL),
    st.builds(
        Status,
        nonce=st.just(2000),
        term=SMALL,
        high_qc=CERTIFICATES,
        term_certificate=st.none() | TERM_CERTIFICATES,
        vote=st.none() | VOTES,
        timeout_term=SMALL,
        timeout=st.none() | ENTRIES,
    ),
    st.builds(GetBlock, height=SMALL, block_hash=HASHES, committed_height=SMALL),
    st.builds(BlockAnswer, block=BLOCKS),
    st.builds(GetCommitted, from_height=SMALL),
    st.builds(
        Committed,
        blocks=st.lists(BLOCKS, min_size=1, max_size=2).map(tuple),
        headers=st.just(()),
        proof=PROOFS,
    ),
)


@given(
    st.sampled_from([None, 0, 1, 2, 3]),
    st.booleans(),
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 1), MESSAGES), max_size=12),
)
def test_forged_messages_change_nothing(
    index: int | None, has_forgotten: bool, script: list[tuple[int, int, Any]]
) -> None:
    start = genesis_start(NETWORK, 1000, StateRoot(bytes(32)), EMPTY_ROOT)
    replica = Replica(
        ReplicaConfig(
            network_id=NETWORK,
            epoch=Epoch(0),
            validator=None if index is None else ValidatorIndex(index),
            validator_count=4,
            valset_hash=bytes(32),
            parameters=Parameters(),
            may_rejoin=True,
        ),
        Refusing(),
        lambda message: Signature(b"own"),
        Empty(),
        replace(start, has_forgotten=has_forgotten),
    )
    effects: list[Any] = []
    for at, (sender, epoch, message) in enumerate(script):
        effects += replica.step(
            Received(
                sender=ValidatorIndex(sender), epoch=Epoch(epoch), message=message, now_ms=at, wall_ms=2000
            )
        )
        effects += replica.step(Ticked(now_ms=at, wall_ms=2000, has_pending=False, has_overdue=False))

    assert not [effect for effect in effects if isinstance(effect, CommitBlock | Halt)]
    assert (replica.term, replica.high_rank, replica.committed_height) == (1, (0, 0), 0)
    assert has_forgotten or not replica.has_amnesia
