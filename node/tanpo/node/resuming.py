"""What a replica is told of its past when it begins: at a start, or after the end of another epoch."""

from __future__ import annotations

from dataclasses import dataclass

from tanpo.consensus import CommittedTip, ReplicaConfig, ReplicaStart
from tanpo.consensus.record import encode_record, make_first_record
from tanpo.ledger.block import decode_block
from tanpo.storage import SafetyImage, SafetyWrite


@dataclass(frozen=True, slots=True, kw_only=True)
class Resumption:
    """How a replica starts; `write`, if there is one, is made durable before it does."""

    start: ReplicaStart
    write: SafetyWrite | None


def resume(
    config: ReplicaConfig, tip: CommittedTip, image: SafetyImage, *, has_forgotten: bool
) -> Resumption:
    """Return how a replica starts from the last stored block and what it promised.

    `has_forgotten`: there ought to be promises of this key and are none, or those there are lack some.
    A validator that has promised nothing yet begins with a record that says so. So it asks the others first
    (D7), and an emptied data directory that was initialised by mistake is found out.
    """
    record, write = image.record, None
    # At the block that an epoch starts from, a key that is remembered at all has signed nothing in it.
    is_base = tip.height == config.base_certificate.height
    if record is None and config.validator is not None and is_base and not has_forgotten:
        record = encode_record(make_first_record(config.epoch, config.base_certificate))
        write = SafetyWrite(record=record)
    start = ReplicaStart(
        tip=tip,
        record=record,
        blocks=tuple(decode_block(encoded) for _, encoded in sorted(image.blocks.items())),
        has_forgotten=has_forgotten,
    )
    return Resumption(start=start, write=write)
