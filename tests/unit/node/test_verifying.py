"""Signature checks give the same verdicts inline and on threads, each for its own envelope."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from tanpo.ledger.errors import Reason, TransactionRejected
from tanpo.ledger.keys import PrivateKey
from tanpo.ledger.transaction import Call, Envelope, build_transaction, sign_envelope
from tanpo.ledger.types import MemberId
from tanpo.node.metrics import Metrics
from tanpo.node.verifying import CHUNK_SIGNATURES, Verifier


@pytest.fixture(params=[0, 1, 2], ids=lambda count: f"{count}-threads")
def verifier(request: pytest.FixtureRequest) -> Iterator[Verifier]:
    verifier = Verifier(Metrics(), request.param)
    yield verifier
    verifier.close()


def _spoil(envelope: Envelope) -> Envelope:
    return replace(envelope, digest=bytes(32))


@pytest.mark.parametrize("count", [1, 2, CHUNK_SIGNATURES, 3 * CHUNK_SIGNATURES + 1])
async def test_each_envelope_gets_its_own_verdict(
    parties: Any, verifier: Verifier, make_envelope: Any, count: int
) -> None:
    envelopes = [make_envelope(f"r{number}") for number in range(count)]
    envelopes[count // 2] = _spoil(envelopes[count // 2])
    verdicts = await verifier.verify(envelopes, parties.keyring)
    assert [verdict is None for verdict in verdicts] == [number != count // 2 for number in range(count)]
    refused = verdicts[count // 2]
    assert refused is not None
    assert refused.reason is Reason.SIGNATURE_INVALID


async def test_nothing_to_verify_is_no_verdict(parties: Any, verifier: Verifier) -> None:
    assert await verifier.verify([], parties.keyring) == []


def test_an_unregistered_key_is_named(parties: Any) -> None:
    stranger = PrivateKey.generate()
    transaction = build_transaction(
        network_id=parties.network_id,
        member=MemberId("dealer-a"),
        request_id="r1",
        valid_until_ms=parties.time_ms,
        gas_limit=1,
        signers=[stranger.key_id],
        call=Call.create("notes", "write", {}),
    )
    with pytest.raises(TransactionRejected) as refused:
        parties.keyring.check_envelope(sign_envelope(parties.network_id, [transaction], [stranger]))
    assert (refused.value.reason, refused.value.value) == (Reason.KEY_UNKNOWN, stranger.key_id.hex())


def test_a_member_cannot_submit_under_anothers_name(parties: Any) -> None:
    transaction = build_transaction(
        network_id=parties.network_id,
        member=MemberId("dealer-a"),
        request_id="r1",
        valid_until_ms=parties.time_ms,
        gas_limit=1,
        signers=[parties.keys["dealer-b"].key_id],
        call=Call.create("notes", "write", {}),
    )
    envelope = parties.envelope(transaction)
    with pytest.raises(TransactionRejected) as refused:
        parties.keyring.check_envelope(envelope)
    assert (refused.value.reason, refused.value.value) == (Reason.SIGNATURE_MISSING, "dealer-a")
    assert refused.value.limit == "dealer-b"
