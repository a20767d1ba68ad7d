"""Blocks, votes and certificates to build violations from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from typing import Any, Final

import pytest
from tanpo.consensus import messages
from tanpo.consensus.record import DurableRecord, encode_record
from tanpo.ledger import certificate as cert
from tanpo.ledger import types as t
from tanpo.ledger.block import EMPTY_ROOT, Block, BlockFlags, Header, compute_body_hash
from tanpo.ledger.vote import Vote
from tanpo.simulator.reigns import Reign

NETWORK: Final = t.NetworkId(sha256(b"fabricated").digest())
REIGN: Final = Reign.create(("0", "1", "2", "3"))
PREPARE, COMMIT = cert.SignedKind.VOTE_PREPARE, cert.SignedKind.VOTE_COMMIT


class Forge:
    """Makes what validators would sign, right or wrong."""

    network_id = NETWORK
    keys = REIGN.keys
    prepare, commit = PREPARE, COMMIT

    def __init__(self) -> None:
        self.headers: dict[t.BlockHash, Header] = {}

    def block(self, term: int, height: int, parent: Block | None = None, **changes: Any) -> Block:
        header = Header(
            network_id=NETWORK,
            epoch=t.Epoch(0),
            term=t.Term(term),
            height=t.Height(height),
            parent_hash=t.BlockHash(NETWORK) if parent is None else parent.block_hash,
            parent_term=t.Term(0) if parent is None else parent.header.term,
            time_ms=1_000 + height,
            proposer=t.ValidatorIndex((term - 1) % 4),
            tx_root=EMPTY_ROOT,
            tx_count=0,
            body_hash=compute_body_hash(()),
            state_root=t.StateRoot(bytes(32)),
            receipts_root=EMPTY_ROOT,
            valset_hash=bytes(32),
            next_valset_hash=bytes(32),
            flags=BlockFlags.NONE,
            evidence_root=EMPTY_ROOT,
        )
        block = Block.create(replace(header, **changes), ())
        self.headers[block.block_hash] = block.header
        return block

    def vote(self, signer: int, block: Block, kind: cert.SignedKind = PREPARE) -> Vote:
        header = block.header
        message = cert.vote_bytes(kind, NETWORK, header.epoch, header.term, header.height, block.block_hash)
        return Vote(
            kind=kind,
            validator=t.ValidatorIndex(signer),
            term=header.term,
            height=header.height,
            block_hash=block.block_hash,
            signature=REIGN.sign(signer, message),
        )

    def reply(self, signer: int, block: Block, kind: cert.SignedKind = PREPARE) -> messages.AppendReply:
        return messages.AppendReply(vote=self.vote(signer, block, kind))

    def certify(
        self, block: Block, kind: cert.SignedKind = PREPARE, signers: Sequence[int] = (0, 1, 2)
    ) -> cert.QuorumCertificate:
        votes = [self.vote(signer, block, kind) for signer in signers]
        return cert.QuorumCertificate(
            kind=kind,
            epoch=t.Epoch(0),
            term=block.header.term,
            height=block.header.height,
            block_hash=block.block_hash,
            signatures=tuple((vote.validator, vote.signature) for vote in votes),
        )

    def proof(self, block: Block) -> cert.CommitProof:
        return cert.CommitProof(certificate=self.certify(block, COMMIT))

    def timeout(self, signer: int, term: int, lock: Block | None = None) -> messages.Timeout:
        high = cert.genesis_certificate(NETWORK) if lock is None else self.certify(lock)
        named: Any = {"high_term": high.term, "high_height": high.height, "high_hash": high.block_hash}
        message = cert.timeout_bytes(NETWORK, t.Epoch(0), t.Term(term), **named)
        entry = cert.TimeoutEntry(
            validator=t.ValidatorIndex(signer), signature=REIGN.sign(signer, message), **named
        )
        return messages.Timeout(term=t.Term(term), entry=entry, high_qc=high, term_certificate=None)

    def record(self, **fields: Any) -> bytes:
        known: Any = {
            "sequence": 1,
            "epoch": t.Epoch(0),
            "term": t.Term(1),
            "term_certificate": None,
            "voted": None,
            "justify": None,
            "timeout": None,
            "high_qc": cert.genesis_certificate(NETWORK),
            "commit_proof": None,
            "floor": t.Term(0),
            "doublings": 0,
            "calm": 0,
        }
        return encode_record(DurableRecord(**(known | fields)))


@pytest.fixture
def forge() -> Forge:
    return Forge()
