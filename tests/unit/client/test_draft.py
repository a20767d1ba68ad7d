"""Offline signing: every party signs the same bytes, and a file that was touched is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tanpo.client import (
    Draft,
    FileSigner,
    PartialSignature,
    build_draft,
    load_draft,
    load_envelope,
    load_signature,
    save_draft,
    save_envelope,
    save_key,
    save_signature,
)
from tanpo.client.context import Context, make_call
from tanpo.ledger.errors import Reason, TransactionRejected, UsageError
from tanpo.ledger.genesis import Genesis, collect_keys
from tanpo.ledger.keys import PrivateKey
from tanpo.ledger.transaction import Call, sign_envelope
from tanpo.ledger.types import MemberId, NetworkId, Signature

CALL = Call.create("settlement", "swap", {"legs": ({"quantity": 5},), "note": b"\x01"})


def build(genesis: Genesis, *signers: PrivateKey, calls: Any = CALL, request_id: str | None = "r1") -> Draft:
    return build_draft(
        calls,
        network_id=genesis.network_id,
        member=MemberId("alpha"),
        signers=[signer.key_id for signer in signers],
        valid_until_ms=1000,
        gas_limit=10,
        request_id=request_id,
    )


def test_two_parties_on_two_machines_make_the_envelope_of_one(
    genesis: Genesis, key: PrivateKey, other_key: PrivateKey, tmp_path: Path
) -> None:
    save_draft(tmp_path / "draft", build(genesis, key, other_key))
    for name, signer in (("a", key), ("b", other_key)):
        save_key(tmp_path / f"{name}.key", signer)
        draft = load_draft(tmp_path / "draft", genesis.network_id)
        save_signature(tmp_path / f"{name}.sig", draft.sign(FileSigner.load(tmp_path / f"{name}.key")))
    draft = load_draft(tmp_path / "draft", genesis.network_id)
    signatures = [load_signature(tmp_path / f"{name}.sig") for name in "ba"]

    envelope = draft.seal(signatures, collect_keys(genesis))
    save_envelope(tmp_path / "envelope", genesis.network_id, envelope)

    assert envelope == sign_envelope(genesis.network_id, draft.transactions, [key, other_key])
    assert load_envelope(tmp_path / "envelope", genesis.network_id) == envelope


def test_a_draft_shows_what_is_signed(genesis: Genesis, key: PrivateKey) -> None:
    (shown,) = build(genesis, key).describe()

    assert json.loads(json.dumps(shown)) == shown
    assert (shown["contract"], shown["entry"]) == ("settlement", "swap")
    assert shown["arguments"] == {"legs": [{"quantity": 5}], "note": {"$bytes": "01"}}
    assert shown["signers"] == [key.key_id.hex()]


def test_several_calls_get_request_ids_of_their_own(genesis: Genesis, key: PrivateKey) -> None:
    draft = build(genesis, key, calls=[CALL, CALL])

    assert [tx.request_id for tx in draft.transactions] == ["r1.0", "r1.1"]


def test_request_ids_made_up_differ(genesis: Genesis, key: PrivateKey) -> None:
    first, second = (build(genesis, key, request_id=None) for _ in range(2))

    assert first.transactions[0].request_id != second.transactions[0].request_id


@pytest.mark.parametrize("count", [0, 257])
def test_an_envelope_holds_1_to_256_calls(genesis: Genesis, key: PrivateKey, count: int) -> None:
    with pytest.raises(TransactionRejected, match="number of calls"):
        build(genesis, key, calls=[CALL] * count)


def test_a_key_that_the_draft_does_not_name_cannot_sign(
    genesis: Genesis, key: PrivateKey, other_key: PrivateKey
) -> None:
    with pytest.raises(UsageError) as caught:
        build(genesis, key).sign(other_key)
    assert caught.value.reason is Reason.SIGNATURE_FOREIGN


def test_a_missing_signature_is_named(genesis: Genesis, key: PrivateKey, other_key: PrivateKey) -> None:
    draft = build(genesis, key, other_key)

    with pytest.raises(TransactionRejected) as caught:
        draft.seal([draft.sign(key)])
    assert caught.value.reason is Reason.SIGNATURE_MISSING
    assert caught.value.value == other_key.key_id.hex()


def test_a_signature_over_another_draft_is_refused(genesis: Genesis, key: PrivateKey) -> None:
    other = build(genesis, key, request_id="r2").sign(key)

    with pytest.raises(TransactionRejected, match="another draft"):
        build(genesis, key).seal([other])


def test_a_wrong_signature_is_refused_where_the_key_is_known(genesis: Genesis, key: PrivateKey) -> None:
    draft = build(genesis, key)
    forged = PartialSignature(digest=draft.digest, key_id=key.key_id, signature=key.sign(bytes(32)))

    with pytest.raises(TransactionRejected, match="a signature is wrong"):
        draft.seal([forged], collect_keys(genesis))


def test_two_different_signatures_by_one_key_are_refused(genesis: Genesis, key: PrivateKey) -> None:
    draft = build(genesis, key)
    right = draft.sign(key)
    other = PartialSignature(digest=draft.digest, key_id=key.key_id, signature=Signature(b"x"))

    assert draft.seal([right, right])
    with pytest.raises(TransactionRejected, match="two signatures"):
        draft.seal([right, other])


def _change(path: Path, **fields: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


@pytest.mark.parametrize(
    "fields",
    [
        {"payloads": []},
        {"payloads": ["00"]},
        {"payloads": ["zz"]},
        {"payloads": "00"},
        {"payloads": [5]},
        {"tx_ids": ["00"]},
        {"digest": "00"},
        {"network_id": "00"},
        {"version": 2},
        {"format": "tanpo-envelope"},
    ],
)
def test_a_draft_file_that_was_touched_is_refused(
    genesis: Genesis, key: PrivateKey, tmp_path: Path, fields: dict[str, Any]
) -> None:
    path = tmp_path / "draft"
    save_draft(path, build(genesis, key))
    _change(path, **fields)

    with pytest.raises(UsageError, match=str(path)):
        load_draft(path, genesis.network_id)


@pytest.mark.parametrize("fields", [{"envelope": "00"}, {"tx_ids": []}, {"network_id": "00"}])
def test_an_envelope_file_that_was_touched_is_refused(
    genesis: Genesis, key: PrivateKey, tmp_path: Path, fields: dict[str, Any]
) -> None:
    draft = build(genesis, key)
    path = tmp_path / "envelope"
    save_envelope(path, genesis.network_id, draft.seal([draft.sign(key)]))
    _change(path, **fields)

    with pytest.raises(UsageError, match=str(path)):
        load_envelope(path, genesis.network_id)


@pytest.mark.parametrize("text", ["", "[]", "{}", "\x00"])
def test_a_file_of_another_kind_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "file"
    path.write_text(text)

    with pytest.raises(UsageError, match=str(path)):
        load_draft(path, NetworkId(bytes(32)))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nowhere cannot be read"):
        load_signature(tmp_path / "nowhere")


def test_files_are_never_overwritten(genesis: Genesis, key: PrivateKey, tmp_path: Path) -> None:
    save_draft(tmp_path / "draft", build(genesis, key))

    with pytest.raises(UsageError, match="exists already"):
        save_draft(tmp_path / "draft", build(genesis, key))


def test_a_context_composes_with_its_own_signers(
    make_context: Any, genesis: Genesis, key: PrivateKey
) -> None:
    context = make_context()
    options: dict[str, Any] = {"request_id": None, "valid_for_s": 60, "gas_limit": None}

    envelope = context.compose(make_call("notes", "write", {}), signers=None, **options)

    (tx,) = envelope.transactions
    assert (tx.member, tx.signers, tx.gas_limit) == ("alpha", (key.key_id,), 200_000)
    assert context.read_envelope(envelope.encoded) == envelope
    with pytest.raises(UsageError, match="no key is to sign"):
        context.compose(make_call("notes", "write", {}), signers=[], **options)


@pytest.mark.parametrize("valid_for_s", [float("inf"), float("nan"), 0.0, -1.0, 1e18])
def test_a_validity_out_of_range_is_refused_before_anything_is_signed(
    make_context: Callable[..., Context], valid_for_s: float
) -> None:
    call = Call.create("register", "transfer", {})
    with pytest.raises(UsageError, match="validity") as caught:
        make_context().build(call, signers=None, request_id=None, valid_for_s=valid_for_s, gas_limit=None)
    assert caught.value.limit
    assert caught.value.remedy


def test_a_call_is_given_in_one_way(key: PrivateKey) -> None:
    assert make_call(CALL, "", None) is CALL
    with pytest.raises(UsageError, match="already"):
        make_call(CALL, "swap", None)
