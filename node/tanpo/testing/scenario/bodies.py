"""What the driver of a scenario's process checks in a block's body, and how a faulty machine executes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from typing import Final

from tanpo.consensus import Roots
from tanpo.ledger.block import Block
from tanpo.ledger.errors import PeerFault
from tanpo.ledger.evidence import decode_evidence, verify_evidence
from tanpo.ledger.merkle import compute_merkle_root
from tanpo.ledger.types import StateRoot
from tanpo.testing.scenario.archive import NETWORK, Archive
from tanpo.testing.scenario.keys import StoryKeys

UNFIT: Final = "unfit"
"""What the name of a transaction starts with that no honest validator accepts in a block."""


def find_body_fault(block: Block, below: Sequence[Block], archive: Archive) -> str | None:
    """Return what is wrong with the body of a block on top of others, None if nothing is."""
    seen = {envelope for one in below for envelope in one.envelopes}
    shown = {item for one in below for item in one.evidence}
    if any(envelope.startswith(UNFIT.encode()) for envelope in block.envelopes):
        return "a transaction without a good signature"
    if seen & set(block.envelopes):
        return "a transaction that was there before"
    if compute_merkle_root(block.envelopes) != block.header.tx_root:
        return "another root of its transactions"
    if shown & set(block.evidence):
        return "evidence that was there before"
    return _find_evidence_fault(block, archive)


def diverge(roots: Roots) -> Roots:
    """Return what a faulty machine makes of right results: another state, hence another root."""
    return replace(roots, state_root=StateRoot(sha256(b"diverged" + roots.state_root).digest()))


def _find_evidence_fault(block: Block, archive: Archive) -> str | None:
    for encoded in block.evidence:
        try:
            evidence = decode_evidence(encoded)
            verify_evidence(evidence, NETWORK, StoryKeys(archive.sets.get(evidence.epoch, ())))
        except PeerFault as fault:
            return fault.message
    return None
