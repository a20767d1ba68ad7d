"""Where a contract keeps what, for readers without its source: keys to ask for, and what values mean.

The layout of a contract is read from its entry in the state. A variable keeps its name and shape for ever,
over all versions of the contract, so a layout that was ever proved is right for every height at which the
state has the variable at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

from tanpo.ledger.contractversion import decode_version
from tanpo.ledger.errors import CorruptState, PeerFault, Reason, TransactionRejected
from tanpo.ledger.keycodec import (
    KEY_PART_BYTES_MAX,
    build_key_encoder,
    build_member_codec,
    index_group,
    plain_prefix,
    slot_prefix,
)
from tanpo.ledger.shapes import (
    DictShape,
    IndexShape,
    ListShape,
    MapShape,
    RowShape,
    Scalar,
    Shape,
    TupleShape,
    VariableShape,
    parse_variable,
)
from tanpo.ledger.statekey import index_key
from tanpo.ledger.valuecodec import build_decoder
from tanpo.ledger.values import INT_MAX, INT_MIN, Value

_TYPES: Final = {Scalar.INT: int, Scalar.BOOL: bool, Scalar.STR: str, Scalar.BYTES: bytes}


@dataclass(frozen=True, slots=True, kw_only=True)
class StateLayout:
    """The variables of one contract, and the version of it that they were read from."""

    contract: str
    version: int
    variables: Mapping[str, VariableShape]

    @classmethod
    def decode(cls, contract: str, entry: bytes) -> StateLayout:
        """Return the layout in a contract's entry. Raises `PeerFault` for bytes that are none."""
        found = decode_version(contract, entry)
        variables = {name: parse_variable(text) for name, text in found.layout.items()}
        return cls(contract=contract, version=found.version, variables=variables)

    def spell_key(self, variable: str, key: Value | None) -> bytes:
        """Return the state key of a plain variable, for which `key` is None, or of one key of a `Map`.

        Raises:
            TransactionRejected: the contract has no such variable, or the key is not of its type.
        """
        kind = self.get_shape(variable)
        prefix = plain_prefix(self.contract, variable)
        if isinstance(kind, IndexShape):
            raise self._refuse(variable, f"is {kind}: list a group of it")
        if isinstance(kind, MapShape):
            return prefix + build_key_encoder(kind.key, self._too_long)(self._check(variable, kind.key, key))
        if key is not None:
            raise self._refuse(variable, f"is {kind}, and has no keys")
        return prefix

    def spell_group(self, variable: str, group: Value) -> bytes:
        """Return a group of an `Index` (`stateproof.group_range`). Raises as `spell_key`."""
        kind = self._get_index(variable)
        spelled = build_key_encoder(kind.group, self._too_long)(self._check(variable, kind.group, group))
        return index_group(slot_prefix(self.contract, variable), spelled)

    def read_value(self, variable: str, stored: bytes) -> Value:
        """Return a stored value: records as names and values, dicts as pairs.

        Raises:
            PeerFault: the bytes are no value of this variable.
        """
        kind = self.get_shape(variable)
        shape = kind.value if isinstance(kind, MapShape) else kind
        if isinstance(shape, IndexShape):
            raise self._refuse(variable, "has no values")
        try:
            return _export(shape, build_decoder(shape)(stored))
        except CorruptState as error:
            raise PeerFault(Reason.MALFORMED, error.message, value=error.value) from None

    def read_member(self, variable: str, group: bytes, key: bytes) -> Value:
        """Return the member of an index group that a state key of it spells. Raises as `read_value`."""
        kind = self._get_index(variable)
        _, decode = build_member_codec(kind.member, self._too_long)
        try:
            member = decode(key[len(index_key(group, b"")) :])
        except (CorruptState, IndexError, UnicodeDecodeError):
            raise PeerFault(Reason.MALFORMED, "an entry of an index is no member", value=key.hex()) from None
        return _export(kind.member, member)

    def get_shape(self, variable: str) -> VariableShape:
        """Return the shape of a variable. Raises `TransactionRejected` if there is none of this name."""
        found = self.variables.get(variable)
        if found is None:
            raise TransactionRejected(
                Reason.ARGUMENT_UNKNOWN,
                f"contract {self.contract} has no variable {variable}",
                value=variable,
                limit=", ".join(sorted(self.variables)),
                remedy="name one of its variables",
            )
        return found

    def _get_index(self, variable: str) -> IndexShape:
        kind = self.get_shape(variable)
        if not isinstance(kind, IndexShape):
            raise self._refuse(variable, f"is {kind}, and no Index")
        return kind

    def _check(self, variable: str, kind: Shape, key: Value | None) -> Value:
        """Return a key that is of its type."""
        parts: tuple[object, ...] = (key,)
        kinds: tuple[Shape, ...] = (kind,)
        if isinstance(kind, TupleShape):
            kinds = kind.items
            parts = tuple(key) if isinstance(key, tuple | list) else ()
        if len(parts) != len(kinds) or not all(
            _is_of(part, wanted) for part, wanted in zip(parts, kinds, strict=True)
        ):
            raise TransactionRejected(
                Reason.ARGUMENT_TYPE,
                f"{self.contract}.{variable} has keys of another type",
                value=repr(key),
                limit=kind,
                remedy="give a key of that type",
            )
        return cast("Value", key)

    def _too_long(self, size: int) -> TransactionRejected:
        return TransactionRejected(
            Reason.TOO_LARGE,
            f"a key of {self.contract} is too long",
            value=f"{size} bytes",
            limit=f"{KEY_PART_BYTES_MAX} bytes",
            remedy="no contract can have a key that long",
        )

    def _refuse(self, variable: str, why: str) -> TransactionRejected:
        return TransactionRejected(
            Reason.ARGUMENT_TYPE, f"{self.contract}.{variable} {why}", value=variable, remedy="ask for it so"
        )


def _is_of(part: object, kind: Shape) -> bool:
    if not isinstance(kind, Scalar) or type(part) is not _TYPES[kind]:
        return False
    if isinstance(part, str):
        return part.isascii() or not any("\ud800" <= sign <= "\udfff" for sign in part)
    return not isinstance(part, int) or INT_MIN <= part <= INT_MAX


def _export(shape: Shape, value: Any) -> Value:
    match shape:
        case RowShape(fields=fields):
            return {name: _export(kind, part) for (name, kind), part in zip(fields, value, strict=True)}
        case TupleShape(items=items):
            return tuple(_export(kind, part) for kind, part in zip(items, value, strict=True))
        case ListShape(item=item):
            return tuple(_export(item, part) for part in value)
        case DictShape(key=key, value=kind):
            return tuple((_export(key, name), _export(kind, part)) for name, part in value.items())
    return cast("Value", value)
