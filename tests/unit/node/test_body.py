"""What a block's body must be for a vote: canonical, within limits, unexpired, no request twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from tanpo.ledger.block import EMPTY_ROOT, Block, BlockFlags, Header, compute_body_hash, compute_tx_root
from tanpo.ledger.errors import PeerFault
from tanpo.ledger.genesis import Parameters
from tanpo.ledger.transaction import Envelope
from tanpo.ledger.types import BlockHash, Epoch, Height, StateRoot, Term, ValidatorIndex
from tanpo.node.body import decode_body, verify_body


def _block(parties: Any, envelopes: Sequence[Envelope], **fields: Any) -> Block:
    encoded = [envelope.encoded for envelope in envelopes]
    tx_ids = [tx.tx_id for envelope in envelopes for tx in envelope.transactions]
    header = Header(
        network_id=parties.network_id,
        epoch=Epoch(0),
        term=Term(1),
        height=Height(1),
        parent_hash=BlockHash(parties.network_id),
        parent_term=Term(0),
        time_ms=parties.time_ms,
        proposer=ValidatorIndex(0),
        tx_root=compute_tx_root(tx_ids),
        tx_count=len(tx_ids),
        body_hash=compute_body_hash(encoded),
        state_root=StateRoot(bytes(32)),
        receipts_root=EMPTY_ROOT,
        valset_hash=bytes(32),
        next_valset_hash=bytes(32),
        flags=BlockFlags.NONE,
        evidence_root=EMPTY_ROOT,
    )
    return Block.create(replace(header, **fields), encoded)


def _check(parties: Any, block: Block, parameters: Parameters | None = None, taken: Any = ()) -> None:
    decoded = decode_body(block, parties.network_id, lambda _: None)
    verify_body(decoded, parameters or Parameters(), lambda digest: digest in taken)


def test_a_sound_body_passes(parties: Any, make_envelope: Any) -> None:
    _check(parties, _block(parties, [make_envelope("r1"), make_envelope("r2")]))


def test_known_envelopes_are_not_decoded_or_verified_again(parties: Any, make_envelope: Any) -> None:
    known, new = make_envelope("r1"), make_envelope("r2")
    block = _block(parties, [known, new])
    decoded = decode_body(block, parties.network_id, {known.signed_hash: known}.get)
    assert decoded.envelopes[0] is known
    assert decoded.unchecked == (new,)


def test_a_transaction_count_other_than_the_headers_is_refused(parties: Any, make_envelope: Any) -> None:
    with pytest.raises(PeerFault, match="count"):
        _check(parties, _block(parties, [make_envelope("r1")], tx_count=2))


def test_transactions_other_than_the_roots_are_refused(parties: Any, make_envelope: Any) -> None:
    with pytest.raises(PeerFault, match="root"):
        _check(parties, _block(parties, [make_envelope("r1")], tx_root=EMPTY_ROOT))


def test_an_envelope_that_is_not_canonical_is_refused(parties: Any, make_envelope: Any) -> None:
    envelope = make_envelope("r1")
    with pytest.raises(PeerFault, match="trailing"):
        _check(parties, _block(parties, [replace(envelope, encoded=envelope.encoded + b"\0")]))


@pytest.mark.parametrize("valid_for_ms", [-1, 3_600_001])
def test_a_transaction_outside_its_validity_is_refused(
    parties: Any, make_envelope: Any, valid_for_ms: int
) -> None:
    with pytest.raises(PeerFault, match="expired, or valid for too long"):
        _check(parties, _block(parties, [make_envelope("r1", valid_for_ms=valid_for_ms)]))


def test_an_executed_request_is_refused(parties: Any, make_envelope: Any) -> None:
    envelope = make_envelope("r1")
    with pytest.raises(PeerFault, match="executed before"):
        _check(parties, _block(parties, [envelope]), taken={envelope.transactions[0].request_digest})


def test_a_request_twice_in_one_block_is_refused(parties: Any, make_envelope: Any) -> None:
    block = _block(parties, [make_envelope("r1", gas_limit=1), make_envelope("r1", gas_limit=2)])
    with pytest.raises(PeerFault, match="twice"):
        _check(parties, block)


@pytest.mark.parametrize(
    "parameters",
    [
        Parameters(block_transactions_max=1),
        Parameters(block_bytes_max=300),
        Parameters(block_gas_max=1_500),
        Parameters(gas_limit_max=999),
    ],
)
def test_a_block_beyond_the_networks_limits_is_refused(
    parties: Any, make_envelope: Any, parameters: Parameters
) -> None:
    with pytest.raises(PeerFault, match=r"limit"):
        _check(parties, _block(parties, [make_envelope("r1"), make_envelope("r2")]), parameters)
