"""Building a replica's state from what survived: never less than what it promised (D2)."""

from __future__ import annotations

from collections.abc import Callable

from tanpo.consensus.certificates import accept_certificate
from tanpo.consensus.chain import Chain
from tanpo.consensus.config import PayloadSource, ReplicaConfig, ReplicaStart
from tanpo.consensus.record import DurableRecord, decode_record
from tanpo.consensus.state import Core, TermState
from tanpo.ledger.certificate import SignatureChecker, genesis_certificate
from tanpo.ledger.errors import Reason, UsageError
from tanpo.ledger.types import Signature, Term


def build_core(
    config: ReplicaConfig,
    checker: SignatureChecker,
    signer: Callable[[bytes], Signature],
    payloads: PayloadSource,
    start: ReplicaStart,
) -> Core:
    """Return the state to go on from.

    Raises:
        CorruptState: the record is damaged.
        UsageError: the record belongs to another epoch.
    """
    record = _first_record(config) if start.record is None else decode_record(start.record)
    if record.epoch != config.epoch:
        raise UsageError(
            Reason.CONFIGURATION, "record of another epoch", value=record.epoch, limit=config.epoch
        )
    chain = Chain(start.tip)
    core = Core(
        config=config,
        checker=checker,
        signer=signer,
        payloads=payloads,
        chain=chain,
        record=record,
        persisted=None if start.record is None else record,
        can_sign=config.validator is not None and not has_amnesia(start),
        round=TermState(entered_ms=0),
    )
    for block in sorted(start.blocks, key=lambda block: (block.header.height, block.block_hash)):
        if block.header.height > start.tip.height:
            held = chain.add(block)
            held.is_kept = held.is_persisted = True
        else:
            core.dropped.append(block.block_hash)
    if start.tip.proof is not None:
        accept_certificate(core, start.tip.proof.certificate)
    return core


def has_amnesia(start: ReplicaStart) -> bool:
    """Whether the chain survived but our promises did not: then we must not sign (D6)."""
    return start.record is None and (start.tip.height > 0 or bool(start.blocks))


def _first_record(config: ReplicaConfig) -> DurableRecord:
    return DurableRecord(
        sequence=0,
        epoch=config.epoch,
        term=Term(1),
        term_certificate=None,
        voted=None,
        justify=None,
        timeout=None,
        high_qc=genesis_certificate(config.network_id),
        commit_proof=None,
    )
