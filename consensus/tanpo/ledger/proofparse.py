"""Reading proof files: each thing has one spelling, and whatever else is written is refused.

Unknown and repeated names, hexadecimal digits in upper case, fractions: a file that says the same in two
ways, or more than is checked, would leave room to tamper with it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from tanpo.ledger import prooffile
from tanpo.ledger.certificate import VALIDATORS_MAX
from tanpo.ledger.codec import U64_MAX
from tanpo.ledger.errors import PeerFault, Reason
from tanpo.ledger.lineage import DESCENDANTS_MAX, EpochStep
from tanpo.ledger.prooffile import (
    ProofFile,
    ReceiptFile,
    SignerStatus,
    Standing,
    StateFile,
    Trail,
)
from tanpo.ledger.types import Epoch, KeyId, MemberId, Signature, TxId
from tanpo.ledger.validators import Validator
from tanpo.ledger.values import Value, value_from_json, value_to_json

FILE_CHARACTERS_MAX: Final = 32 << 20
ITEMS_MAX: Final = 1 << 16
"""Most items of any list in a file."""

_HEX: Final = re.compile(r"(?:[0-9a-f]{2})*")
_T = TypeVar("_T")


def decode_proof_file(text: str) -> ProofFile:
    """Return the proof that a file holds, unverified. Raises `PeerFault` (MALFORMED) for any other text."""
    if len(text) > FILE_CHARACTERS_MAX:
        raise _wrong("it is too long", len(text), f"{FILE_CHARACTERS_MAX} characters")
    try:
        document = json.loads(
            text, parse_float=_refuse, parse_constant=_refuse, object_pairs_hook=_read_pairs
        )
    except (ValueError, RecursionError) as error:
        raise _wrong(f"it is no JSON: {error}") from None
    fields = _Fields("the file", document)
    kind, version = fields.text("format"), fields.integer("version")
    known = prooffile.RECEIPT_VERSION if kind == prooffile.RECEIPT_FORMAT else prooffile.FILE_VERSION
    if version != known:
        raise _wrong("its version is not known", version, known)
    match kind:
        case prooffile.RECEIPT_FORMAT:
            file: ProofFile = _read_receipt(fields)
        case prooffile.VALUE_FORMAT | prooffile.LISTING_FORMAT:
            file = _read_state(fields, is_listing=kind == prooffile.LISTING_FORMAT)
        case _:
            limit = ", ".join((prooffile.RECEIPT_FORMAT, prooffile.VALUE_FORMAT, prooffile.LISTING_FORMAT))
            raise _wrong("its format is not known", kind, limit)
    fields.finish()
    return file


class _Fields:
    """The fields of one object: each is of its type, each is read once, and none is left over."""

    __slots__ = ("_fields", "_where")

    def __init__(self, where: str, data: object) -> None:
        if not isinstance(data, dict):
            raise _wrong(f"{where} is no object", type(data).__name__)
        self._where = where
        self._fields: dict[str, Any] = dict(data)

    def take(self, name: str) -> Any:
        if name not in self._fields:
            raise _wrong(f"{self._where} has no {name}")
        return self._fields.pop(name)

    def text(self, name: str) -> str:
        found = self.take(name)
        if not isinstance(found, str):
            raise _wrong(f"{name} is no text", repr(found))
        return found

    def integer(self, name: str) -> int:
        found = self.take(name)
        if type(found) is not int or not 0 <= found <= U64_MAX:
            raise _wrong(f"{name} is no whole number", repr(found), f"0..{U64_MAX}")
        return found

    def hex(self, name: str) -> bytes:
        return _read_hex(name, self.take(name))

    def hexes(self, name: str, items_max: int = ITEMS_MAX) -> tuple[bytes, ...]:
        return self.items(name, lambda item: _read_hex(name, item), items_max)

    def items(self, name: str, read: Callable[[Any], _T], items_max: int = ITEMS_MAX) -> tuple[_T, ...]:
        found = self.take(name)
        if not isinstance(found, list) or len(found) > items_max:
            raise _wrong(f"{name} is no list, or too long a one", limit=f"{items_max} items")
        return tuple(read(item) for item in found)

    def finish(self) -> None:
        if self._fields:
            raise _wrong(f"{self._where} says more than it may", next(iter(self._fields)))


def _read_receipt(fields: _Fields) -> ReceiptFile:
    return ReceiptFile(
        network=fields.text("network"),
        network_id=fields.hex("network_id"),
        payload=fields.hex("payload"),
        envelope=tuple(TxId(tx_id) for tx_id in fields.hexes("envelope")),
        signatures=fields.items("signatures", _read_signature),
        signers=fields.items("signers", _read_status),
        standing=_read_standing(fields.take("standing")),
        receipt=fields.hex("receipt"),
        leaf_count=fields.integer("leaf_count"),
        siblings=fields.hexes("siblings"),
        block_header=fields.hex("block_header"),
        trail=_read_trail(fields.take("trail")),
    )


def _read_state(fields: _Fields, *, is_listing: bool) -> StateFile:
    value = None if is_listing else fields.take("value")
    return StateFile(
        network=fields.text("network"),
        network_id=fields.hex("network_id"),
        height=fields.integer("height"),
        contract=fields.text("contract"),
        contract_entry=fields.hex("contract_entry"),
        variable=fields.text("variable"),
        key=_read_key(fields.take("group" if is_listing else "key")),
        is_listing=is_listing,
        value=None if value is None else _read_hex("value", value),
        group_keys=fields.hexes("group_keys") if is_listing else (),
        partial_tree=fields.hex("partial_tree"),
        trail=_read_trail(fields.take("trail")),
    )


def _read_trail(data: object) -> Trail:
    fields = _Fields("trail", data)
    trail = Trail(
        epoch=Epoch(fields.integer("epoch")),
        validators=fields.items("validators", _read_validator, VALIDATORS_MAX),
        steps=fields.items("steps", _read_step),
        header=fields.hex("header"),
        descendants=fields.hexes("descendants", DESCENDANTS_MAX),
        commit_proof=fields.hex("commit_proof"),
    )
    fields.finish()
    return trail


def _read_step(data: object) -> EpochStep:
    fields = _Fields("a step", data)
    step = EpochStep(
        header=fields.hex("header"),
        commit_proof=fields.hex("commit_proof"),
        validators=fields.items("validators", _read_validator, VALIDATORS_MAX),
    )
    fields.finish()
    return step


def _read_validator(data: object) -> Validator:
    fields = _Fields("a validator", data)
    validator = Validator(
        member=MemberId(_check_text(fields.text("member"))),
        node=_check_text(fields.text("node")),
        public_key=fields.hex("public_key"),
    )
    fields.finish()
    return validator


def _read_signature(data: object) -> tuple[KeyId, Signature]:
    fields = _Fields("a signature", data)
    signature = KeyId(fields.hex("key_id")), Signature(fields.hex("signature"))
    fields.finish()
    return signature


def _read_status(data: object) -> SignerStatus:
    fields = _Fields("a signer", data)
    status = SignerStatus(
        key_id=KeyId(fields.hex("key_id")),
        member=MemberId(fields.text("member")),
        public_key=fields.hex("public_key"),
        registered_height=fields.integer("registered_height"),
    )
    fields.finish()
    return status


def _read_standing(data: object) -> Standing | None:
    if data is None:
        return None
    fields = _Fields("standing", data)
    standing = Standing(
        contract_entry=fields.hex("contract_entry"),
        owners=fields.hexes("owners"),
        roles=fields.items("roles", lambda item: None if item is None else _read_hex("roles", item)),
        records=fields.items("records", lambda item: None if item is None else _read_hex("records", item)),
        partial_tree=fields.hex("partial_tree"),
    )
    fields.finish()
    return standing


def _read_key(data: object) -> Value | None:
    if data is None:
        return None
    try:
        key = value_from_json(data)
    except (ValueError, TypeError, AttributeError):
        raise _wrong("key is no value", repr(data)) from None
    if value_to_json(key) != data:
        raise _wrong("key is not spelled as it must be", repr(data))
    return key


def _read_hex(name: str, data: object) -> bytes:
    if not isinstance(data, str) or not _HEX.fullmatch(data):
        raise _wrong(f"{name} is not in pairs of lower-case hexadecimal digits", repr(data))
    return bytes.fromhex(data)


def _check_text(text: str) -> str:
    """Refuse what has no encoding, and names of a length that none can have."""
    if not text.isascii() or len(text) > 255:
        raise _wrong("a name is none that a validator can have", text)
    return text


def _read_pairs(pairs: list[tuple[str, Any]]) -> Mapping[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a name is repeated")
    return fields


def _refuse(text: str) -> float:
    raise ValueError(f"{text[:40]} is no whole number")


def _wrong(why: str, value: object = "", limit: object = "") -> PeerFault:
    return PeerFault(
        Reason.MALFORMED,
        f"the proof file is unusable: {why}",
        value=value,
        limit=limit,
        remedy="export it anew",
    )
