"""What to write instead of what other languages have and the dialect has not, by the name they give it.

The checker names these remedies where the one of the code would be too general. They are words alone: nothing
here decides what is refused.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable
from typing import Final

from tanpo.vm import ir
from tanpo.vm.faults import REMEDIES
from tanpo.vm.types import DictOf, ListOf, Record, Scalar, TupleOf, Type

CONSTRUCTS: Final[dict[str, str]] = {
    "set comprehension": "build a dict with bool values in a loop, or a list",
    "dict comprehension": "begin with an empty dict of a declared type and fill it in a loop",
    "with": "write the statements themselves; there is nothing to open or close",
    "global": "remove the line: state is assigned by its name alone",
    "nonlocal": "remove the line: state is assigned by its name alone",
    "async def": "write a plain def; a call runs to its end",
    "async for": "write a plain for",
    "async with": "write the statements themselves; there is nothing to open or close",
    "await": "call it without await",
    "unary +": "leave the + out",
    "~": "write -x - 1",
    "**": "multiply, or shift; write constants out, as in 1_000_000",
    "@": "use //, mul_div or div_round on integers",
    "is": "compare with ==",
    "* form": "name every argument and every target; join lists with +",
}
"""By the way a refused construct is written."""

MODULES: Final[dict[str, str]] = {
    "dataclasses": "nothing is imported; decorate the class with @record",
    "datetime": "nothing is imported; ctx.time is the time of the block, in milliseconds",
    "decimal": "nothing is imported; use integers in the smallest unit, with mul_div for ratios",
    "enum": "nothing is imported; declare one constant for each value",
    "hashlib": "nothing is imported; sha256, sha3_256 and sha512 are there",
    "math": "nothing is imported; abs, min, max, mul_div and div_round are there",
    "random": "nothing is imported; every node must find the same, so nothing is random",
    "tanpo": "remove the line: the names of the dialect are there without an import",
    "time": "nothing is imported; ctx.time is the time of the block, in milliseconds",
    "typing": "nothing is imported; write list[T], dict[K, V] and tuple[A, B]",
}
"""By the first part of the name of what is imported."""

_CLOCK: Final = "use ctx.time, the time of the block in milliseconds"
_LOOP: Final = "write a loop"
_NUMBERS: Final = "loop over range(len(xs)) and take x = xs[i] inside"
_SIMPLE: Final = "write the name, the field or the call itself"

NAMES: Final[dict[str, str]] = {
    "all": _LOOP,
    "any": _LOOP,
    "block": "use ctx.time and ctx.height",
    "chr": "keep a text of the characters you need, and index it",
    "datetime": _CLOCK,
    "date": _CLOCK,
    "divmod": "use // and %",
    "enumerate": _NUMBERS,
    "eval": _SIMPLE,
    "exec": _SIMPLE,
    "false": "write False",
    "filter": "use a list comprehension with if",
    "float": REMEDIES["FLOAT"],
    "Decimal": REMEDIES["FLOAT"],
    "frozenset": REMEDIES["SET"],
    "getattr": _SIMPLE,
    "hash": "use sha256 of bytes",
    "id": "name things yourself, in a field or a key",
    "input": "take what is needed as parameters",
    "isinstance": "leave the test out: types are known when the contract is checked",
    "type": "leave the test out: types are known when the contract is checked",
    "map": "use a list comprehension",
    "math": "use abs, min, max, mul_div and div_round",
    "msg": "use ctx.sender",
    "none": REMEDIES["NONE"],
    "null": REMEDIES["NONE"],
    "open": "take what is needed as parameters",
    "ord": "use s.encode()[0], the first byte of the text",
    "pow": REMEDIES["POWER"],
    "print": 'emit("Name", field=value) in an entry point; tests see results and events',
    "random": "every node must find the same: nothing is random",
    "reversed": "loop over range(len(xs)) and take x = xs[len(xs) - 1 - i] inside",
    "revert": 'use abort("CODE")',
    "round": "use div_round(a, b, mode)",
    "self": "use state and functions by their names alone; there are no objects",
    "set": REMEDIES["SET"],
    "setattr": _SIMPLE,
    "sum": "add up in a loop",
    "time": _CLOCK,
    "true": "write True",
    "zip": _NUMBERS,
}
"""By a name that is not known."""

TYPE_CALLS: Final[dict[str, str]] = {
    "bool": "compare explicitly, as in x != 0 or len(s) > 0",
    "bytes": "write a literal such as b'', or s.encode()",
    "dict": "write d: dict[str, int] = {} and fill it",
    "list": "write xs: list[int] = [], or sorted(d) for the keys of a dict",
    "tuple": "write the items in brackets: (a, b)",
    "Map": "declare it at top level: name: Map[K, V]",
    "Index": "declare it at top level: name: Index[G, M]",
    "Contract": "declare it at top level: name: Contract['other']",
}
"""By the name of a type that is called."""

TYPES: Final[dict[str, str]] = {
    "list": "name the type of its items, as in list[int]",
    "dict": "name the types of its keys and values, as in dict[str, int]",
    "tuple": "name the type of each item, as in tuple[int, str]",
    "List": "write list[T]",
    "Dict": "write dict[K, V]",
    "Tuple": "write tuple[A, B]",
    "Mapping": "write dict[K, V], or Map[K, V] in the state",
    "Map": "a Map is declared at top level; use dict[K, V] here",
    "Index": "an Index is declared at top level; use list[T] here",
    "set": "use dict[T, bool], or list[T]",
    "Set": "use dict[T, bool], or list[T]",
    "frozenset": "use dict[T, bool], or list[T]",
    "float": "use int, in the smallest unit",
    "Decimal": "use int, in the smallest unit",
    "datetime": "use int: milliseconds, as in ctx.time",
    "Optional": REMEDIES["NONE"],
    "Union": "use one type, or a record with a flag",
    "Any": "name one type: each name has one",
    "any": "name one type: each name has one",
    "object": "name one type: each name has one",
    "string": "write str",
    "String": "write str",
    "integer": "write int",
    "uint": "write int",
    "uint256": "write int",
    "boolean": "write bool",
    "address": "write str: members are known by their names",
    "callable": "call functions by name; they are no values",
    "Callable": "call functions by name; they are no values",
}
"""By the name of a type that is not known, or not known so."""

_LENGTH: Final = "use len({0})"
_LIST: Final[dict[str, str]] = {
    "sort": "assign a new list: ys = sorted({0})",
    "insert": "join lists: {0} = [x] + {0}",
    "extend": "join lists: {0} = {0} + ys",
    "remove": "build the list without it, with a list comprehension",
    "index": "look for it in a loop, or use x in {0}",
    "count": "count in a loop",
    "copy": "take a slice: {0}[:]",
    "clear": "assign an empty list",
    "reverse": "build it in a loop from the end",
    "push": "use append(x)",
    "add": "use append(x)",
}
_DICT: Final[dict[str, str]] = {
    "items": "loop over the keys, for k in {0}, and take v = {0}[k] inside",
    "keys": "loop over {0} itself; sorted({0}) is the list of its keys",
    "values": "loop over the keys, for k in {0}, and take v = {0}[k] inside",
    "pop": "read {0}[k], then del {0}[k]",
    "update": "set the keys in a loop: {0}[k] = other[k]",
    "setdefault": "use {0}.get(k, default), then {0}[k] = value",
    "has": "use k in {0}",
    "contains": "use k in {0}",
    "has_key": "use k in {0}",
    "copy": "fill a new dict in a loop",
    "clear": "assign an empty dict",
}
_TEXT: Final[dict[str, str]] = {
    "format": 'use f"..." with plain names in braces',
    "index": "use find(s), which gives -1 if it is absent",
    "rfind": "use find(s) on slices",
    "split": "take the parts as a list[str], or use find(s) and slices",
    "replace": "use find(s), slices and +",
    "strip": "take text that is trimmed already, or use slices",
    "lower": "take text in the case that is wanted; case depends on the language",
    "upper": "take text in the case that is wanted; case depends on the language",
    "count": "use find(s) on slices, in a loop",
    "isdigit": "use int(s), which fails with INT_PARSE unless s is a number",
    "decode": "leave it out: this is text already",
    "zfill": "put the zeros in front with +, in a loop",
}
_BYTES: Final[dict[str, str]] = {
    "decode": "keep text as str, or show bytes with hex()",
    "hexdigest": "use hex()",
    "digest": "leave it out: the hash is bytes already",
}
_LENGTHS: Final = ("len", "length", "size", "count")
_MAP: Final = "a Map is not listed: keep its keys in an Index, and read them with first and page"


def advise_method(kind: Type, owner: str, name: str) -> str:
    """Return what to write instead of a method that a type has not; empty if nothing better is known."""
    match kind:
        case ListOf():
            table = _LIST
        case DictOf():
            table = _DICT
        case Scalar(name="str"):
            table = _TEXT
        case Scalar(name="bytes"):
            table = _BYTES
        case Scalar() | Record() | TupleOf():
            return "call a function with the value: this type has no methods"
        case _:
            return ""
    if name in _LENGTHS and name not in table:
        return _LENGTH.format(_shorten(owner))
    return table.get(name, "").format(_shorten(owner))


def advise_field(kind: Type, owner: str, name: str) -> str:
    """Return what to write instead of a field of something that is no record."""
    if isinstance(kind, Record):
        return ""
    if name in _LENGTHS and (isinstance(kind, ListOf | DictOf) or str(kind) in ("str", "bytes")):
        return _LENGTH.format(_shorten(owner))
    if isinstance(kind, DictOf):
        return "use d[key]; only records have fields"
    return "only records have fields"


def advise_map_method(slot: str, name: str) -> str:
    """Return what to write instead of a method that a Map has not."""
    if name in ("add", "set", "put", "update", "insert", "append", "setdefault"):
        return f"write {slot}[key] = value"
    if name in ("delete", "remove", "pop", "discard"):
        return f"write del {slot}[key]"
    if name in ("has", "contains", "exists", "has_key"):
        return f"use key in {slot}"
    return _MAP


def advise_whole(name: str, slot: ir.Slot) -> str:
    """Return how to use a Map or an Index whose name stands where a value should."""
    if isinstance(slot, ir.IndexSlot):
        return (
            f"change it with {name}.add(group, member) and {name}.remove(group, member);"
            " read it with contains, first and page"
        )
    return f"read and write entries, {name}[key] or {name}.get(key, default); {_MAP}"


SHAPES: Final[dict[str, str]] = {
    "abs": "abs(n)",
    "add": "add(group, member)",
    "append": "append(x)",
    "contains": "contains(group, member)",
    "encode": "encode(), which gives UTF-8",
    "endswith": "endswith(text)",
    "find": "find(text)",
    "first": "first(group, limit)",
    "get": "get(key, default)",
    "hex": "hex()",
    "join": "join(list)",
    "page": "page(group, after, limit)",
    "pop": "pop(), which takes the last item",
    "remove": "remove(group, member)",
    "sha256": "sha256(bytes)",
    "sha3_256": "sha3_256(bytes)",
    "sha512": "sha512(bytes)",
    "startswith": "startswith(text)",
    "verify_p256": "verify_p256(key, message, signature)",
}
"""How what takes its arguments by position is called, by the last part of its name."""


def advise_conversion(found: Type, wanted: Type, shown: str) -> str:
    """Return how to turn a value of one type into another, where there is a way."""
    value = _shorten(shown)
    is_literal = value[:1] in tuple("'\"0123456789") or value in ("True", "False")
    match str(found), str(wanted):
        case "int", "str" if is_literal:
            return f'write it in quotes: "{value}"'
        case "str", "bytes" if is_literal:
            return f"write b before it: b{value}"
        case _ if is_literal:
            return ""
        case "int", "str":
            return f"convert it: str({value})"
        case "str", "int":
            return f"convert it: int({value})"
        case "str", "bytes":
            return f"convert it: {value}.encode()"
        case "bytes", "str":
            return f"convert it: {value}.hex()"
        case "bool", "int":
            return f"choose a number: 1 if {value} else 0"
        case "bool", "str":
            return f'choose a text: "yes" if {value} else "no"'
    return ""


_BUILTINS: Final[dict[str, str]] = {
    "len": "len takes one value: len(x)",
    "str": "str takes one int: str(n); for bytes use hex()",
    "int": "int takes one decimal text: int(s)",
    "sorted": "sorted takes one list or dict, and sorts upwards; read it from the end to go down",
    "min": "min takes two or more integers: min(a, b); over a list, write a loop",
    "max": "max takes two or more integers: max(a, b); over a list, write a loop",
}


def advise_builtin(name: str) -> str:
    """Return how a builtin takes its arguments."""
    return _BUILTINS.get(name, "give the values without names, in their order")


def advise_argument(name: str, kind: Type, shown: str) -> str:
    """Return what to write instead of a builtin of one argument, given a value that it does not take."""
    match name, kind:
        case (("str" | "int"), Scalar(name=found)) if found == name:
            return f"leave {name}(...) out: this is {found} already"
        case (("str" | "int"), Scalar()):
            return advise_conversion(kind, Scalar(name), shown)
        case "str", _:
            return "compose the text of its parts, each a str or an int"
        case "len", TupleOf(items=items):
            return f"write {len(items)}: the length of a tuple is fixed"
        case "len", _:
            return "len takes str, bytes, list or dict"
        case "sorted", _:
            return "sort a list of int, str, bytes or tuples of these, or the keys of a dict"
    return ""


def advise_operator(sign: str, left: Type, right: Type) -> str:
    """Return what to write instead of an operator between two types."""
    kinds = {str(left), str(right)}
    if sign == "%" and str(left) == "str":
        return 'use f"..." with plain names in braces'
    if sign == "+" and kinds == {"int", "str"}:
        return "convert the number, str(n), or the text, int(s)"
    if sign == "+" and kinds == {"bytes", "str"}:
        return "convert the text: s.encode()"
    if sign in ("&", "|", "^") and "bool" in kinds:
        return "use and, or, not and != on bool"
    if "bool" in kinds:
        return "choose a number first: 1 if x else 0"
    if isinstance(left, TupleOf) and isinstance(right, TupleOf):
        return "write a new tuple of all the items: (a, b, c)"
    return ""


def advise_type(node: ast.expr) -> str:
    """Return what to write instead of an annotation that names no type."""
    match node:
        case ast.Constant(value=str()):
            return "write the type without quotes"
        case ast.BinOp(op=ast.BitOr()):
            return TYPES["Union"]
        case ast.Name(id=name) | ast.Subscript(value=ast.Name(id=name)) | ast.Attribute(attr=name):
            return TYPES.get(name, "")
    return ""


def find_near(name: str, known: Iterable[str]) -> str:
    """Return the first known name that differs in one letter, or in the order of two; empty if none does."""
    for other in known:
        if abs(len(other) - len(name)) <= 1 and len(name) > 3 and _is_near(name, other):
            return other
    return ""


def _is_near(name: str, other: str) -> bool:
    same = 0
    for left, right in zip(name, other, strict=False):
        if left != right:
            break
        same += 1
    left, right = name[same:], other[same:]
    if name.lower() == other.lower() or left[1:] == right[1:] or left[1:] == right or left == right[1:]:
        return True
    return left[:2] == right[1::-1] and left[2:] == right[2:]


def _shorten(shown: str) -> str:
    """Return the text of a value if it is a short one, else a name that stands for it."""
    return shown if len(shown) <= 24 and shown.isascii() else "x"
