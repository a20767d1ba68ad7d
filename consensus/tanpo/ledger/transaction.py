"""Transactions and the envelopes that sign them (D2, D3, D5).

A transaction's payload is the canonical encoding of what is asked; its id is a hash of those bytes and so
does not change with its signatures. An envelope holds 1..256 payloads and the signatures of all parties
over all of their ids: it enters a block whole, and each of its transactions executes on its own.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, Protocol

from tanpo.ledger.codec import U64_MAX, Reader, Writer, malformed
from tanpo.ledger.errors import Reason, TransactionRejected
from tanpo.ledger.keys import SIGNATURE_BYTES_MAX
from tanpo.ledger.types import KeyId, MemberId, NetworkId, Signature, TxId
from tanpo.ledger.values import Fields, Value, read_fields, sort_fields, write_fields

PAYLOAD_VERSION: Final = 1
ENVELOPE_VERSION: Final = 1
PAYLOAD_BYTES_MAX: Final = 64 * 1024
ENVELOPE_BYTES_MAX: Final = 512 * 1024
ENVELOPE_TRANSACTIONS_MAX: Final = 256
SIGNERS_MAX: Final = 64
"""Enough for a vote of 95 members in one transaction. What signatures may cost a node is bounded by the bytes
of an envelope and of a block, whatever number a transaction has (ADR 29)."""
REQUEST_ID_MAX: Final = 64
KEY_ID_BYTES: Final = 16
TX_ID_BYTES: Final = 32

NAME_PATTERN: Final = re.compile(r"[a-z][a-z0-9_-]{0,47}")
"""What a member or a contract may be called."""

_ENTRY: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")
_REQUEST_ID: Final = re.compile(r"[!-~]{1,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """An entry point (or view) of a contract and its arguments by name, in ascending order of name."""

    contract: str
    entry: str
    arguments: Fields

    @classmethod
    def create(cls, contract: str, entry: str, arguments: Mapping[str, Value]) -> Call:
        """Return a call with its arguments sorted.

        Raises:
            TransactionRejected: a name is not text.
        """
        return cls(contract=contract, entry=entry, arguments=sort_fields(arguments))


@dataclass(frozen=True, slots=True, kw_only=True)
class Transaction:
    """One decoded transaction, with the exact bytes it was decoded from.

    `member` submits it and owns `request_id`; `valid_until_ms` is the last block time (Unix ms) at which it
    may execute; `signers` are the keys that must sign, strictly ascending. `request_digest` is the key under
    which (member, request_id) is remembered.
    """

    tx_id: TxId
    payload: bytes
    member: MemberId
    request_id: str
    valid_until_ms: int
    gas_limit: int
    signers: tuple[KeyId, ...]
    call: Call
    request_digest: bytes

    @property
    def encoded_call(self) -> bytes:
        """The end of the payload, which spells the call: what `encode_call` gives."""
        # Version, two lengths, `valid_until_ms`, `gas_limit` and the number of signers; names are ASCII.
        fixed = 1 + 2 + 2 + 8 + 8 + 1
        names = len(self.member) + len(self.request_id)
        return self.payload[fixed + names + KEY_ID_BYTES * len(self.signers) :]


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """Decoded transactions, the signatures over them, and the exact bytes.

    `digest` is what the parties signed; `signed_hash` covers signatures too and names a cached check.
    """

    encoded: bytes
    transactions: tuple[Transaction, ...]
    signatures: tuple[tuple[KeyId, Signature], ...]
    digest: bytes
    signed_hash: bytes


class Signer(Protocol):
    """Whatever holds a private key: a key file, an HSM."""

    @property
    def key_id(self) -> KeyId:
        """The id of the key that signs."""
        ...

    def sign(self, digest: bytes) -> Signature:
        """Return a DER signature over a 32-byte digest."""
        ...


def compute_tx_id(network_id: NetworkId, payload: bytes) -> TxId:
    """Return the id of a payload on a network."""
    return TxId(sha256(b"tanpo/tx/1" + network_id + payload).digest())


def compute_request_digest(member: MemberId, request_id: str) -> bytes:
    """Return the 32-byte key under which a member's request id is remembered (D5)."""
    return sha256(Writer().raw(b"tanpo/request/1").text(member).text(request_id).finish()).digest()


def compute_envelope_digest(network_id: NetworkId, tx_ids: Iterable[TxId]) -> bytes:
    """Return the 32 bytes that every party of an envelope signs."""
    return sha256(b"tanpo/envelope/1" + network_id + b"".join(tx_ids)).digest()


def encode_call(call: Call) -> bytes:
    """Return the canonical encoding of a call.

    Raises:
        TransactionRejected: an argument's value is outside its limits.
    """
    writer = Writer().text(call.contract).text(call.entry)
    write_fields(writer, call.arguments)
    return writer.finish()


def read_call(reader: Reader) -> Call:
    """Read a call. Raises `PeerFault` for bytes that spell none."""
    return Call(contract=reader.text(48), entry=reader.text(64), arguments=read_fields(reader))


def build_transaction(
    *,
    network_id: NetworkId,
    member: MemberId,
    request_id: str,
    valid_until_ms: int,
    gas_limit: int,
    signers: Iterable[KeyId],
    call: Call,
) -> Transaction:
    """Return a transaction with its payload and id.

    Raises:
        TransactionRejected: a field is outside its limits, or an argument's value is.
    """
    ordered = tuple(sorted(set(signers)))
    _check_fields(member, request_id, valid_until_ms, gas_limit, ordered, call)
    writer = Writer()
    writer.u8(PAYLOAD_VERSION).text(member).text(request_id).u64(valid_until_ms).u64(gas_limit)
    writer.u8(len(ordered)).raw(b"".join(ordered))
    payload = writer.raw(encode_call(call)).finish()
    _check_payload_size(payload)
    return Transaction(
        tx_id=compute_tx_id(network_id, payload),
        payload=payload,
        member=member,
        request_id=request_id,
        valid_until_ms=valid_until_ms,
        gas_limit=gas_limit,
        signers=ordered,
        call=call,
        request_digest=compute_request_digest(member, request_id),
    )


def decode_transaction(network_id: NetworkId, payload: bytes) -> Transaction:
    """Return the transaction that `payload` spells.

    Raises:
        PeerFault: the bytes are not the canonical encoding of a transaction.
        TransactionRejected: they are, and a field is outside its limits.
    """
    _check_payload_size(payload)
    reader = Reader(payload)
    version = reader.u8()
    if version != PAYLOAD_VERSION:
        raise malformed("unknown payload version", value=version, limit=PAYLOAD_VERSION)
    member = MemberId(reader.text(48))
    request_id = reader.text(REQUEST_ID_MAX)
    valid_until_ms = reader.u64()
    gas_limit = reader.u64()
    signers = tuple(KeyId(reader.raw(KEY_ID_BYTES)) for _ in range(reader.u8()))
    call = read_call(reader)
    reader.finish()
    _check_fields(member, request_id, valid_until_ms, gas_limit, signers, call)
    return Transaction(
        tx_id=compute_tx_id(network_id, payload),
        payload=payload,
        member=member,
        request_id=request_id,
        valid_until_ms=valid_until_ms,
        gas_limit=gas_limit,
        signers=signers,
        call=call,
        request_digest=compute_request_digest(member, request_id),
    )


def seal_envelope(
    network_id: NetworkId,
    transactions: Sequence[Transaction],
    signatures: Mapping[KeyId, Signature],
) -> Envelope:
    """Return the envelope of transactions that have all their signatures.

    Raises:
        TransactionRejected: a limit or the rule of signers is broken.
    """
    if not 1 <= len(transactions) <= ENVELOPE_TRANSACTIONS_MAX:
        limit = f"1..{ENVELOPE_TRANSACTIONS_MAX}"
        raise _rejected(Reason.TOO_LARGE, "transactions in an envelope", len(transactions), limit)
    digest = compute_envelope_digest(network_id, (tx.tx_id for tx in transactions))
    ordered = tuple(sorted(signatures.items()))
    _check_signers(transactions, ordered)
    writer = Writer().u8(ENVELOPE_VERSION).u16(len(transactions))
    for transaction in transactions:
        writer.blob(transaction.payload)
    writer.u8(len(ordered))
    for key_id, signature in ordered:
        if len(signature) > SIGNATURE_BYTES_MAX:
            raise _rejected(
                Reason.SIGNATURE_INVALID, "signature too long", len(signature), SIGNATURE_BYTES_MAX
            )
        writer.raw(key_id).blob(signature)
    encoded = writer.finish()
    _check_envelope_size(encoded)
    return Envelope(
        encoded=encoded,
        transactions=tuple(transactions),
        signatures=ordered,
        digest=digest,
        signed_hash=sha256(encoded).digest(),
    )


def sign_envelope(
    network_id: NetworkId, transactions: Sequence[Transaction], signers: Iterable[Signer]
) -> Envelope:
    """Sign transactions with every key at hand and return the envelope."""
    digest = compute_envelope_digest(network_id, (tx.tx_id for tx in transactions))
    signatures = {signer.key_id: signer.sign(digest) for signer in signers}
    return seal_envelope(network_id, transactions, signatures)


def decode_envelope(network_id: NetworkId, encoded: bytes) -> Envelope:
    """Return the envelope that `encoded` spells. Signatures are not checked here.

    Raises:
        PeerFault: the bytes are not the canonical encoding of an envelope.
        TransactionRejected: they are, and a limit or the rule of signers is broken.
    """
    _check_envelope_size(encoded)
    reader = Reader(encoded)
    version = reader.u8()
    if version != ENVELOPE_VERSION:
        raise malformed("unknown envelope version", value=version, limit=ENVELOPE_VERSION)
    count = reader.u16()
    if not 1 <= count <= ENVELOPE_TRANSACTIONS_MAX:
        raise malformed("transactions in an envelope", value=count, limit=f"1..{ENVELOPE_TRANSACTIONS_MAX}")
    transactions = tuple(decode_transaction(network_id, reader.blob(PAYLOAD_BYTES_MAX)) for _ in range(count))
    signatures = tuple(
        (KeyId(reader.raw(KEY_ID_BYTES)), Signature(reader.blob(SIGNATURE_BYTES_MAX)))
        for _ in range(reader.u8())
    )
    reader.finish()
    _check_signers(transactions, signatures)
    return Envelope(
        encoded=encoded,
        transactions=transactions,
        signatures=signatures,
        digest=compute_envelope_digest(network_id, (tx.tx_id for tx in transactions)),
        signed_hash=sha256(encoded).digest(),
    )


def _check_fields(
    member: str,
    request_id: str,
    valid_until_ms: int,
    gas_limit: int,
    signers: tuple[KeyId, ...],
    call: Call,
) -> None:
    if not NAME_PATTERN.fullmatch(member):
        raise _wrong_form("member", member, NAME_PATTERN)
    if not _REQUEST_ID.fullmatch(request_id):
        raise _wrong_form("request id", request_id, _REQUEST_ID)
    if not NAME_PATTERN.fullmatch(call.contract):
        raise _wrong_form("contract", call.contract, NAME_PATTERN)
    if not _ENTRY.fullmatch(call.entry):
        raise _wrong_form("entry point", call.entry, _ENTRY)
    if not 0 <= valid_until_ms <= U64_MAX:
        raise _rejected(Reason.MALFORMED, "valid_until is out of range", valid_until_ms, f"0..{U64_MAX}")
    if not 1 <= gas_limit <= U64_MAX:
        raise _rejected(Reason.GAS_LIMIT, "gas limit is out of range", gas_limit, f"1..{U64_MAX}")
    if not 1 <= len(signers) <= SIGNERS_MAX:
        raise _rejected(Reason.SIGNATURE_MISSING, "signers", len(signers), f"1..{SIGNERS_MAX}")
    if not _ascends(signers):
        raise _rejected(Reason.SIGNATURE_DUPLICATE, "signers must strictly ascend", "", "each key once")


def _check_signers(
    transactions: Sequence[Transaction], signatures: tuple[tuple[KeyId, Signature], ...]
) -> None:
    present = tuple(key_id for key_id, _ in signatures)
    if all(tx.signers == present for tx in transactions):
        return  # The ordinary case, and sorted: each transaction's signers strictly ascend.
    if not _ascends(present):
        raise _rejected(
            Reason.SIGNATURE_DUPLICATE, "signatures must strictly ascend by key", "", "one signature a key"
        )
    required = {key_id for tx in transactions for key_id in tx.signers}
    for key_id in sorted(required.difference(present)):
        raise _rejected(
            Reason.SIGNATURE_MISSING, "a named signer has not signed", key_id.hex(), "every signer named"
        )
    for key_id in sorted(set(present).difference(required)):
        raise _rejected(
            Reason.SIGNATURE_FOREIGN, "a signature by a key no transaction names", key_id.hex(), "none"
        )


def _ascends(key_ids: tuple[KeyId, ...]) -> bool:
    return all(a < b for a, b in itertools.pairwise(key_ids))


def _check_payload_size(payload: bytes) -> None:
    if len(payload) > PAYLOAD_BYTES_MAX:
        raise _rejected(Reason.TOO_LARGE, "transaction too large", len(payload), PAYLOAD_BYTES_MAX)


def _check_envelope_size(encoded: bytes) -> None:
    if len(encoded) > ENVELOPE_BYTES_MAX:
        raise _rejected(Reason.TOO_LARGE, "envelope too large", len(encoded), ENVELOPE_BYTES_MAX)


_REMEDIES: Final = {
    Reason.MALFORMED: "correct the field",
    Reason.GAS_LIMIT: "set a gas limit in range",
    Reason.SIGNATURE_INVALID: "sign the envelope's digest with a P-256 key, in DER",
    Reason.SIGNATURE_MISSING: "collect the missing signature and seal the envelope again",
    Reason.SIGNATURE_DUPLICATE: "list each key once, in ascending order",
    Reason.SIGNATURE_FOREIGN: "name the key among the signers or leave its signature out",
    Reason.TOO_LARGE: "split it into smaller transactions or envelopes",
}


def _wrong_form(what: str, name: str, pattern: re.Pattern[str]) -> TransactionRejected:
    return _rejected(Reason.MALFORMED, f"{what} has a wrong form", name, pattern.pattern)


def _rejected(reason: Reason, what: str, value: object, limit: object) -> TransactionRejected:
    return TransactionRejected(reason, what, value=value, limit=limit, remedy=_REMEDIES[reason])
