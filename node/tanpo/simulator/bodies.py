"""What a simulated node puts into a block, and what it checks of another's: as `tanpo.node.bodies` does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from tanpo.consensus import CheckBlock, Payload
from tanpo.ledger.block import Block
from tanpo.ledger.errors import PeerFault
from tanpo.ledger.evidence import decode_evidence, verify_evidence
from tanpo.ledger.genesis import Parameters
from tanpo.simulator.application import BAD_PREFIX, build_payload

if TYPE_CHECKING:
    from tanpo.simulator.process import Process

EVIDENCE_MAX: Final = 4
"""Most pieces of evidence in one block of ours."""


class PoolSource:
    """Where a process's replica finds transactions: its `PayloadSource`."""

    def __init__(self, process: Process) -> None:
        self._process = process

    def select(self, ancestors: Sequence[Block], _time_ms: int, limits: Parameters) -> Payload:
        """Return what a leader puts into a block on these ancestors."""
        process = self._process
        taken = {envelope for block in ancestors for envelope in block.envelopes}
        chosen = process.pool.select(taken | process.chain.envelopes, limits.block_transactions_max)
        if process.actor is not None:
            chosen = process.actor.chooses(chosen)
        if process.name != process.node:
            chosen = chosen[::-1]  # A twin proposes another block than its sibling.
        known = {one for block in ancestors for one in block.evidence} | process.chain.evidence
        evidence = [one for one in process.evidence if one not in known][:EVIDENCE_MAX]
        return build_payload(chosen, evidence)


def find_body_fault(process: Process, effect: CheckBlock) -> str | None:
    """Return what is wrong with a proposed body, None if it may be voted for."""
    block, chain = effect.block, process.chain
    taken = {envelope for ancestor in effect.ancestors for envelope in ancestor.envelopes}
    if any(envelope.startswith(BAD_PREFIX) for envelope in block.envelopes):
        return "a malformed transaction"
    if any(e in taken or e in chain.envelopes for e in block.envelopes):
        return "a request was executed before"
    if len(set(block.envelopes)) != len(block.envelopes):
        return "a request stands twice in the block"
    payload = build_payload(block.envelopes)
    if (payload.tx_root, payload.tx_count) != (block.header.tx_root, block.header.tx_count):
        return "transactions are not those of the header's root"
    known = {one for ancestor in effect.ancestors for one in ancestor.evidence} | chain.evidence
    return _find_evidence_fault(process, block, known)


def _find_evidence_fault(process: Process, block: Block, known: set[bytes]) -> str | None:
    for encoded in block.evidence:
        if encoded in known:
            return "evidence that is in the chain already"
        try:
            evidence = decode_evidence(encoded)
            if evidence.epoch > block.header.epoch:
                return "evidence of a later epoch"
            keys = process.cluster.reigns[evidence.epoch].keys
            verify_evidence(evidence, process.cluster.network_id, keys)
        except PeerFault as fault:
            return fault.message
    return None
