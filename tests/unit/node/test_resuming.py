"""What a replica is told of its past (SPEC D6, D7)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from tanpo.consensus import CommittedTip, ReplicaConfig, Roots, Timing
from tanpo.consensus.record import decode_record
from tanpo.ledger.block import EMPTY_ROOT
from tanpo.ledger.genesis import Parameters
from tanpo.ledger.types import BlockHash, Epoch, Height, NetworkId, StateRoot, Term, ValidatorIndex
from tanpo.node.resuming import resume
from tanpo.storage import SafetyImage

NETWORK: Final = NetworkId(bytes(32))
CONFIG: Final = ReplicaConfig(
    network_id=NETWORK,
    epoch=Epoch(0),
    validator=ValidatorIndex(1),
    validator_count=4,
    valset_hash=bytes(32),
    parameters=Parameters(),
    timing=Timing(),
    base=None,
    may_rejoin=False,
)
GENESIS: Final = CommittedTip(
    height=Height(0),
    block_hash=BlockHash(NETWORK),
    term=Term(0),
    time_ms=1,
    roots=Roots(state_root=StateRoot(bytes(32)), receipts_root=EMPTY_ROOT),
)
NOTHING: Final = SafetyImage(record=None, blocks={})


def begin(image: SafetyImage = NOTHING, tip: CommittedTip = GENESIS, **changes: Any) -> Any:
    has_forgotten = changes.pop("has_forgotten", False)
    return resume(replace(CONFIG, **changes), tip, image, has_forgotten=has_forgotten)


def test_a_first_record_promises_nothing_and_is_durable_before_the_start() -> None:
    resumption = begin()

    record = decode_record(resumption.write.record)
    assert resumption.start.record == resumption.write.record
    assert (record.voted, record.timeout, record.floor, record.term) == (None, None, 0, 1)


def test_nobody_begins_anew_who_may_have_forgotten() -> None:
    above = replace(GENESIS, height=Height(1))
    for resumption in (begin(has_forgotten=True), begin(tip=above), begin(validator=None)):
        assert (resumption.write, resumption.start.record) == (None, None)
    assert begin(has_forgotten=True).start.has_forgotten


def test_what_was_promised_is_handed_on_as_it_is() -> None:
    resumption = begin(SafetyImage(record=b"promised", blocks={}))

    assert (resumption.write, resumption.start.record) == (None, b"promised")
