"""Building a replica's state from what survived: never less than what it promised (D2)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from tanpo.consensus.certificates import accept_certificate
from tanpo.consensus.chain import Chain
from tanpo.consensus.config import PayloadSource, ReplicaConfig, ReplicaStart
from tanpo.consensus.record import DurableRecord, decode_record, make_first_record
from tanpo.consensus.state import Core, TermState
from tanpo.ledger.certificate import SignatureChecker
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
    """
    resumed = _resume(config, start)
    # Terms count from 1 in each epoch: that of the block it starts from says nothing in this one.
    is_base = start.tip.height == config.base_certificate.height
    chain = Chain(replace(start.tip, term=Term(0)) if is_base else start.tip)
    core = Core(
        config=config,
        checker=checker,
        signer=signer,
        payloads=payloads,
        chain=chain,
        record=resumed.record,
        persisted=resumed.record if resumed.is_durable else None,
        has_amnesia=config.validator is not None and resumed.has_amnesia,
        is_behind=resumed.is_behind,
        is_restart=start.record is not None,
        current=TermState(entered_ms=0),
    )
    for block in sorted(start.blocks, key=lambda block: (block.header.height, block.block_hash)):
        if block.header.height > start.tip.height and block.header.epoch == config.epoch:
            held = chain.add(block)
            held.is_kept = held.is_persisted = True
        else:
            core.dropped.append(block.block_hash)
    if start.tip.proof is not None and not is_base:
        accept_certificate(core, start.tip.proof.certificate)
    return core


@dataclass(frozen=True, slots=True, kw_only=True)
class _Resumed:
    record: DurableRecord
    is_durable: bool = False
    has_amnesia: bool = False
    is_behind: bool = False


def _resume(config: ReplicaConfig, start: ReplicaStart) -> _Resumed:
    """Find out what we promised in this epoch, and whether we can know it (D2, D6, E5)."""
    first = make_first_record(config.epoch, config.base_certificate)
    is_base = start.tip.height == config.base_certificate.height
    if start.record is None:
        # The chain survived, our promises did not.
        return _Resumed(record=first, has_amnesia=start.has_forgotten or not is_base or bool(start.blocks))
    record = decode_record(start.record)
    if record.epoch == config.epoch:
        return _Resumed(record=record, is_durable=True, has_amnesia=start.has_forgotten)
    if record.epoch > config.epoch:
        return _Resumed(record=first, is_behind=True)
    fresh = replace(first, sequence=record.sequence)
    # Whoever rejoined may have signed in this epoch too and forgotten it: those it asked may have missed it.
    # A last block of a term above the floor was certified after they answered, by one of them.
    is_newer = record.epoch + 1 == config.epoch and start.tip.term > record.floor
    is_doubtful = record.floor > 0 and not is_newer
    # A validator writes a record as soon as it starts an epoch: without one this far in, it is lost.
    return _Resumed(record=fresh, has_amnesia=start.has_forgotten or not is_base or is_doubtful)
