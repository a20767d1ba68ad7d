"""Typed arguments from the command line: `name=value`, read as the contract's interface says.

Text is taken as it stands for `str`, digits for `int`, `true` or `false` for `bool`, hex for `bytes`, and
JSON for everything that has parts. Amounts are integers in the smallest unit: a fraction is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from tanpo.ledger.errors import Reason, TransactionRejected
from tanpo.ledger.values import INT_MAX, INT_MIN, Value

_INT: Final = re.compile(r"[+-]?[0-9][0-9_]*")
_INT_DIGITS_MAX: Final = 90
_SCALARS: Final = ("int", "str", "bool", "bytes")


class Interfaces:
    """The interfaces of a network's contracts, as JSON, by contract; resolves records across contracts."""

    def __init__(self, by_contract: Mapping[str, Mapping[str, Any]]) -> None:
        self._by_contract = by_contract

    def parse_arguments(
        self, contract: str, kind: str, function: str, given: Sequence[str]
    ) -> dict[str, Value]:
        """Return the arguments of an entry point or view from `name=value` texts.

        `kind` is `entries` or `views`.

        Raises:
            TransactionRejected: contract, function, an argument's name or its value fits no interface.
        """
        wanted = self._find_parameters(contract, kind, function)
        arguments: dict[str, Value] = {}
        for text in given:
            name, separator, value = text.partition("=")
            if not separator:
                raise _refuse(Reason.ARGUMENT_TYPE, "an argument is not name=value", text, "name=value")
            if name not in wanted:
                what = f"{function} takes no such argument"
                raise _refuse(Reason.ARGUMENT_UNKNOWN, what, name, _list(wanted))
            if name in arguments:
                raise _refuse(Reason.ARGUMENT_UNKNOWN, "an argument is given twice", name, "each once")
            arguments[name] = self.parse_value(value, wanted[name], contract, name)
        missing = [name for name in wanted if name not in arguments]
        if missing:
            what = f"{function} needs more arguments"
            raise _refuse(Reason.ARGUMENT_MISSING, what, _list(missing), _list(wanted))
        return arguments

    def parse_value(self, text: str, type_name: str, home: str, name: str) -> Value:
        """Return the value that `text` spells for a type as contract `home` writes it."""
        match type_name:
            case "str":
                return text
            case "int":
                return _parse_int(text, name)
            case "bool":
                return _parse_bool(text, name)
            case "bytes":
                return _parse_bytes(text, name)
        try:
            data = json.loads(text, parse_float=_refuse_fraction)
        except (ValueError, RecursionError):
            raise _refuse(Reason.ARGUMENT_TYPE, f"argument {name} is not JSON", text, type_name) from None
        return self.convert(data, type_name, home, name)

    def convert(self, data: Any, type_name: str, home: str, name: str) -> Value:
        """Return JSON data as a value of a type as contract `home` writes it."""
        if type_name in _SCALARS:
            return _convert_scalar(data, type_name, name)
        if "[" not in type_name:
            return self._convert_record(data, type_name, home, name)
        head, _, rest = type_name.partition("[")
        inner = split_types(rest.removesuffix("]"))
        if head == "list" and isinstance(data, list):
            return tuple(self.convert(item, inner[0], home, f"{name}[{i}]") for i, item in enumerate(data))
        if head == "tuple" and isinstance(data, list) and len(data) == len(inner):
            return tuple(
                self.convert(item, kind, home, f"{name}[{i}]")
                for i, (item, kind) in enumerate(zip(data, inner, strict=True))
            )
        if head == "dict" and isinstance(data, dict) and inner[0] == "str":
            return {key: self.convert(item, inner[1], home, f"{name}.{key}") for key, item in data.items()}
        raise _refuse(
            Reason.ARGUMENT_TYPE, f"argument {name} has the wrong shape", json.dumps(data), type_name
        )

    def _convert_record(self, data: Any, type_name: str, home: str, name: str) -> Value:
        fields, declared_in = self._find_record(type_name, home)
        if not isinstance(data, dict):
            what = f"argument {name} is not an object"
            raise _refuse(Reason.ARGUMENT_TYPE, what, json.dumps(data), type_name)
        for wrong in sorted(set(data) ^ set(fields)):
            what = "lacks a field of" if wrong in fields else "has a field unknown to"
            raise _refuse(Reason.ARGUMENT_TYPE, f"argument {name} {what} {type_name}", wrong, _list(fields))
        return {
            field: self.convert(data[field], kind, declared_in, f"{name}.{field}")
            for field, kind in fields.items()
        }

    def _find_record(self, type_name: str, home: str) -> tuple[dict[str, str], str]:
        contract, _, record = type_name.rpartition(".")
        declared_in = contract or home
        for item in self._by_contract.get(declared_in, {}).get("records", ()):
            if item["name"] == record:
                return _collect_types(item["fields"]), declared_in
        raise _refuse(Reason.ARGUMENT_TYPE, "a type is in no interface", type_name, home)

    def _find_parameters(self, contract: str, kind: str, function: str) -> dict[str, str]:
        interface = self._by_contract.get(contract)
        if interface is None:
            raise _refuse(
                Reason.CONTRACT_UNKNOWN, "there is no such contract", contract, _list(self._by_contract)
            )
        functions = {item["name"]: item for item in interface.get(kind, ())}
        if function not in functions:
            word = "entry point" if kind == "entries" else "view"
            raise _refuse(Reason.ENTRY_UNKNOWN, f"{contract} has no such {word}", function, _list(functions))
        return _collect_types(functions[function]["parameters"])


def split_types(text: str) -> list[str]:
    """Return the types in a list such as `str, list[tuple[int, str]]`."""
    parts: list[str] = []
    depth, start = 0, 0
    for position, letter in enumerate(text):
        depth += (letter == "[") - (letter == "]")
        if letter == "," and depth == 0:
            parts.append(text[start:position].strip())
            start = position + 1
    return [*parts, text[start:].strip()]


def _collect_types(fields: Iterable[Mapping[str, str]]) -> dict[str, str]:
    return {field["name"]: field["type"] for field in fields}


def _convert_scalar(data: Any, type_name: str, name: str) -> Value:
    if type_name == "bytes" and isinstance(data, str):
        return _parse_bytes(data, name)
    if type_name == "int" and type(data) is int:
        return _check_range(data, name)
    if (type_name == "str" and isinstance(data, str)) or (type_name == "bool" and isinstance(data, bool)):
        return data
    raise _refuse(Reason.ARGUMENT_TYPE, f"argument {name} has the wrong type", json.dumps(data), type_name)


def _parse_int(text: str, name: str) -> int:
    if not _INT.fullmatch(text):
        limit = "a whole number in the smallest unit"
        raise _refuse(Reason.ARGUMENT_TYPE, f"argument {name} is not a whole number", text, limit)
    if len(text) > _INT_DIGITS_MAX:
        size = f"{len(text)} characters"
        raise _refuse(Reason.ARGUMENT_RANGE, f"argument {name} is out of range", size, "255 bits and a sign")
    try:
        return _check_range(int(text), name)
    except ValueError:
        raise _refuse(Reason.ARGUMENT_TYPE, f"argument {name} is not a number", text, "digits") from None


def _parse_bool(text: str, name: str) -> bool:
    if text not in ("true", "false"):
        raise _refuse(Reason.ARGUMENT_TYPE, f"argument {name} is not a boolean", text, "true or false")
    return text == "true"


def _parse_bytes(text: str, name: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise _refuse(
            Reason.ARGUMENT_TYPE, f"argument {name} is not hex", text, "pairs of hex digits"
        ) from None


def _check_range(value: int, name: str) -> int:
    if not INT_MIN <= value <= INT_MAX:
        size = f"{value.bit_length()} bits"
        raise _refuse(Reason.ARGUMENT_RANGE, f"argument {name} is out of range", size, "255 bits and a sign")
    return value


def _refuse_fraction(text: str) -> float:
    raise ValueError(text)


def _list(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"


def _refuse(reason: Reason, message: str, value: object, limit: object) -> TransactionRejected:
    return TransactionRejected(
        reason, message, value=value, limit=limit, remedy="list the interfaces with `tanpo query --list`"
    )
