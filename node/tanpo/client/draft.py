"""Offline signing: build a draft, let each party sign it where its key lives, seal, submit.

A draft is what all parties sign; it can travel as a file. Whoever loads one gets its transactions
decoded from the exact bytes and their ids computed anew, so what is shown is what is signed.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tanpo.client.documents import Document, read_document, save_document
from tanpo.ledger.errors import PeerFault, Reason, TransactionRejected, UsageError
from tanpo.ledger.genesis import RegisteredKey
from tanpo.ledger.transaction import (
    ENVELOPE_TRANSACTIONS_MAX,
    Call,
    Envelope,
    Signer,
    Transaction,
    build_transaction,
    compute_envelope_digest,
    decode_envelope,
    decode_transaction,
    seal_envelope,
)
from tanpo.ledger.types import KeyId, MemberId, NetworkId, Signature
from tanpo.ledger.values import value_to_json

_DRAFT: Final = "tanpo-draft"
_SIGNATURE: Final = "tanpo-signature"
_ENVELOPE: Final = "tanpo-envelope"


@dataclass(frozen=True, slots=True, kw_only=True)
class PartialSignature:
    """One party's signature over a draft."""

    digest: bytes
    key_id: KeyId
    signature: Signature


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """Transactions that nobody has signed yet; `digest` is what every party signs."""

    network_id: NetworkId
    transactions: tuple[Transaction, ...]
    digest: bytes

    @property
    def signers(self) -> frozenset[KeyId]:
        """The keys that must sign."""
        return frozenset(key_id for transaction in self.transactions for key_id in transaction.signers)

    def describe(self) -> list[dict[str, Any]]:
        """Return what a signer should read before signing, ready for JSON."""
        return [
            {
                "tx_id": transaction.tx_id.hex(),
                "member": transaction.member,
                "request_id": transaction.request_id,
                "valid_until_ms": transaction.valid_until_ms,
                "gas_limit": transaction.gas_limit,
                "signers": [key_id.hex() for key_id in transaction.signers],
                "contract": transaction.call.contract,
                "entry": transaction.call.entry,
                "arguments": value_to_json(dict(transaction.call.arguments)),
            }
            for transaction in self.transactions
        ]

    def sign(self, signer: Signer) -> PartialSignature:
        """Return the signature of one party. Raises `UsageError` when the draft does not name its key."""
        if signer.key_id not in self.signers:
            raise UsageError(
                Reason.SIGNATURE_FOREIGN,
                "no transaction of the draft names this key",
                value=signer.key_id.hex(),
                limit=", ".join(sorted(key_id.hex() for key_id in self.signers)),
                remedy="sign with a key that the draft names, or build it anew with this one",
            )
        return PartialSignature(digest=self.digest, key_id=signer.key_id, signature=signer.sign(self.digest))

    def seal(
        self, signatures: Iterable[PartialSignature], keys: Mapping[KeyId, RegisteredKey] | None = None
    ) -> Envelope:
        """Return the envelope that all parties' signatures complete.

        `keys`, such as `collect_keys(genesis)`, lets wrong signatures be refused here instead of by a node.

        Raises:
            TransactionRejected: a signature is missing, foreign, doubled, wrong, or of another draft.
        """
        found: dict[KeyId, Signature] = {}
        for partial in signatures:
            _check_signature(self, partial, keys or {})
            if found.setdefault(partial.key_id, partial.signature) != partial.signature:
                raise _refused(Reason.SIGNATURE_DUPLICATE, "two signatures by one key", partial)
        return seal_envelope(self.network_id, self.transactions, found)


def build_draft(
    calls: Call | Sequence[Call],
    *,
    network_id: NetworkId,
    member: MemberId,
    signers: Iterable[KeyId],
    valid_until_ms: int,
    gas_limit: int,
    request_id: str | None = None,
) -> Draft:
    """Return a draft of one transaction a call, all signed by the same keys.

    Without `request_id` a new one is made up. Several calls get it with `.0`, `.1`, ... appended.

    Raises:
        TransactionRejected: a field or an argument is outside its limits.
    """
    wanted = (calls,) if isinstance(calls, Call) else tuple(calls)
    if not 1 <= len(wanted) <= ENVELOPE_TRANSACTIONS_MAX:
        raise TransactionRejected(
            Reason.TOO_LARGE,
            "number of calls",
            value=len(wanted),
            limit=f"1..{ENVELOPE_TRANSACTIONS_MAX}",
            remedy="split them into several envelopes",
        )
    base = request_id if request_id is not None else uuid.uuid4().hex
    named = tuple(signers)
    return _make_draft(
        network_id,
        tuple(
            build_transaction(
                network_id=network_id,
                member=member,
                request_id=base if isinstance(calls, Call) else f"{base}.{position}",
                valid_until_ms=valid_until_ms,
                gas_limit=gas_limit,
                signers=named,
                call=call,
            )
            for position, call in enumerate(wanted)
        ),
    )


def save_draft(path: Path | str, draft: Draft) -> None:
    """Write a draft to a new file. Raises `UsageError` when it exists or cannot be written."""
    save_document(
        path,
        _DRAFT,
        {
            "network_id": draft.network_id.hex(),
            "digest": draft.digest.hex(),
            "tx_ids": [transaction.tx_id.hex() for transaction in draft.transactions],
            "payloads": [transaction.payload.hex() for transaction in draft.transactions],
        },
    )


def load_draft(path: Path | str, network_id: NetworkId) -> Draft:
    """Return the draft in a file, its ids and digest computed anew.

    Raises:
        UsageError: the file holds no draft of this network, or one that contradicts itself.
    """
    document = read_document(path, _DRAFT)
    _check_network(document, network_id)
    payloads = document.hex_list("payloads")
    if not 1 <= len(payloads) <= ENVELOPE_TRANSACTIONS_MAX:
        raise document.fault(f"must hold 1..{ENVELOPE_TRANSACTIONS_MAX} payloads", len(payloads))
    try:
        transactions = tuple(decode_transaction(network_id, payload) for payload in payloads)
    except (PeerFault, TransactionRejected) as error:
        raise document.fault(f"holds a wrong payload: {error.message}", error.value) from None
    draft = _make_draft(network_id, transactions)
    if document.hex_list("tx_ids") != tuple(transaction.tx_id for transaction in transactions):
        raise document.fault("names other transactions than its payloads spell")
    if document.hex("digest") != draft.digest:
        raise document.fault("names another digest than its payloads have", document.hex("digest").hex())
    return draft


def save_signature(path: Path | str, signature: PartialSignature) -> None:
    """Write one party's signature to a new file. Raises `UsageError` when it cannot be written."""
    save_document(
        path,
        _SIGNATURE,
        {
            "digest": signature.digest.hex(),
            "key_id": signature.key_id.hex(),
            "signature": signature.signature.hex(),
        },
    )


def load_signature(path: Path | str) -> PartialSignature:
    """Return the signature in a file, unverified: sealing checks it. Raises `UsageError` for other files."""
    document = read_document(path, _SIGNATURE)
    return PartialSignature(
        digest=document.hex("digest"),
        key_id=KeyId(document.hex("key_id")),
        signature=Signature(document.hex("signature")),
    )


def save_envelope(path: Path | str, network_id: NetworkId, envelope: Envelope) -> None:
    """Write a signed envelope to a new file. Raises `UsageError` when it exists or cannot be written."""
    save_document(
        path,
        _ENVELOPE,
        {
            "network_id": network_id.hex(),
            "tx_ids": [transaction.tx_id.hex() for transaction in envelope.transactions],
            "envelope": envelope.encoded.hex(),
        },
    )


def load_envelope(path: Path | str, network_id: NetworkId) -> Envelope:
    """Return the envelope in a file, its ids computed anew.

    Raises:
        UsageError: the file holds no envelope of this network, or one that contradicts itself.
    """
    document = read_document(path, _ENVELOPE)
    _check_network(document, network_id)
    try:
        envelope = decode_envelope(network_id, document.hex("envelope"))
    except (PeerFault, TransactionRejected) as error:
        raise document.fault(f"holds a wrong envelope: {error.message}", error.value) from None
    if document.hex_list("tx_ids") != tuple(transaction.tx_id for transaction in envelope.transactions):
        raise document.fault("names other transactions than its envelope holds")
    return envelope


def _make_draft(network_id: NetworkId, transactions: tuple[Transaction, ...]) -> Draft:
    digest = compute_envelope_digest(network_id, (transaction.tx_id for transaction in transactions))
    return Draft(network_id=network_id, transactions=transactions, digest=digest)


def _check_network(document: Document, network_id: NetworkId) -> None:
    if document.hex("network_id") != network_id:
        raise document.fault("belongs to another network", document.hex("network_id").hex())


def _check_signature(draft: Draft, partial: PartialSignature, keys: Mapping[KeyId, RegisteredKey]) -> None:
    if partial.digest != draft.digest:
        raise _refused(Reason.SIGNATURE_INVALID, "a signature over another draft", partial)
    known = keys.get(partial.key_id)
    if known is not None and not known.public_key.verify(partial.signature, draft.digest):
        raise _refused(Reason.SIGNATURE_INVALID, "a signature is wrong", partial)


def _refused(reason: Reason, what: str, partial: PartialSignature) -> TransactionRejected:
    return TransactionRejected(
        reason,
        what,
        value=partial.key_id.hex(),
        limit="one signature a key over this draft",
        remedy="have the party sign this draft again",
    )
