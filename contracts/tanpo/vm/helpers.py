"""The operations that generated code calls: each charges for the size of its operands, then works.

They are ordinary Python, shared by every engine, and closed over the one gas meter of a session. Nothing of
CPython's own errors leaves them: what can fail, fails with an `Abort`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from hashlib import sha3_256, sha256, sha512
from typing import Final, NoReturn

from tanpo.vm import gas
from tanpo.vm.limits import DICT_KEY_MAX, INT_MAX, ITEM_COUNT_MAX, SHIFT_MAX, TEXT_SIZE_MAX
from tanpo.vm.outcome import Abort, Native
from tanpo.vm.signatures import verify_p256

Meter = list[int]
"""One cell: the gas that is left."""

SPARSE_BYTES: Final = 128
"""A dict that takes more for each of its keys was larger once: freshly grown it takes 110 at most."""

_NUMBER: Final = re.compile(r"-?[0-9]{1,78}\Z", re.ASCII)


def out_of_gas() -> NoReturn:
    """End the transaction: its gas is used up."""
    raise Abort("OUT_OF_GAS")


def charge(meter: Meter, amount: int) -> None:
    """Take `amount` from the meter, or end the transaction."""
    left = meter[0] - amount
    meter[0] = left
    if left < 0:
        raise Abort("OUT_OF_GAS")


def overflow() -> NoReturn:
    """End the transaction: a result is outside ±(2**255 - 1)."""
    raise Abort("INT_OVERFLOW")


def build_helpers(meter: Meter) -> dict[str, Native]:
    """Return the helpers that depend on no type, by the name generated code knows them by."""
    return {
        "oog": out_of_gas,
        "ovf": overflow,
        "checked": _checked,
        "shl": _shift_left,
        "shr": _shift_right,
        "mul_div": mul_div,
        "div_round": div_round,
        "b_abs": abs,
        "b_min": min,
        "b_max": max,
        "b_len": len,
        "b_str": str,
        "b_range": range,
        "parse": _parse,
        "key_int": _check_dict_key,
        "append": _append,
        "pop": _pop,
        "set_key": _set_key,
        "item_key": _item_key,
        "del_key": _delete_key,
        **_build_size_helpers(meter),
        **_build_text_helpers(meter),
        **_build_search_helpers(meter),
        **_build_digest_helpers(meter),
        **_build_list_helpers(meter),
    }


def _checked(value: int) -> int:
    if -INT_MAX <= value <= INT_MAX:
        return value
    raise Abort("INT_OVERFLOW")


def _shift_left(value: int, count: int) -> int:
    if not 0 <= count <= SHIFT_MAX:
        raise Abort("SHIFT_RANGE")
    return _checked(value << count)


def _shift_right(value: int, count: int) -> int:
    if not 0 <= count <= SHIFT_MAX:
        raise Abort("SHIFT_RANGE")
    return value >> count


def mul_div(a: int, b: int, c: int, mode: str) -> int:
    """Return a * b / c, exact in between, rounded once by `mode`."""
    return div_round(a * b, c, mode)


def div_round(a: int, b: int, mode: str) -> int:
    """Return a / b rounded.

    DOWN goes toward zero, UP away from it, FLOOR and CEILING to the lower and the higher number, HALF_UP and
    HALF_EVEN to the nearest: ties away from zero, or to the even one.
    """
    if b == 0:
        raise Abort("DIV_ZERO")
    quotient, rest = divmod(abs(a), abs(b))
    is_negative = (a < 0) != (b < 0)
    if rest and _goes_away(mode, 2 * rest - abs(b), is_odd=quotient & 1 == 1, is_negative=is_negative):
        quotient += 1
    return _checked(-quotient if is_negative else quotient)


def _goes_away(mode: str, above_half: int, *, is_odd: bool, is_negative: bool) -> bool:
    """Tell whether a fraction is rounded away from zero."""
    match mode:
        case "UP":
            return True
        case "FLOOR":
            return is_negative
        case "CEILING":
            return not is_negative
        case "HALF_UP":
            return above_half >= 0
        case "HALF_EVEN":
            return above_half > 0 or (above_half == 0 and is_odd)
    return False


def _parse(text: str) -> int:
    if not _NUMBER.match(text):
        raise Abort("INT_PARSE")
    value = int(text)
    if not -INT_MAX <= value <= INT_MAX:
        raise Abort("INT_PARSE")
    return value


def _check_dict_key(key: int) -> int:
    if -DICT_KEY_MAX <= key <= DICT_KEY_MAX:
        return key
    raise Abort("KEY_RANGE")


def _append(items: list[object], item: object) -> None:
    if len(items) >= ITEM_COUNT_MAX:
        raise Abort("VALUE_SIZE")
    items.append(item)


def _pop(items: list[object]) -> object:
    if not items:
        raise Abort("INDEX")
    return items.pop()


def _set_key(value: object, entries: dict[object, object], key: object) -> None:
    if len(entries) >= ITEM_COUNT_MAX and key not in entries:
        raise Abort("VALUE_SIZE")
    entries[key] = value


def _item_key(entries: dict[object, object], key: object) -> object:
    try:
        return entries[key]
    except KeyError:
        raise Abort("KEY") from None


def _delete_key(entries: dict[object, object], key: object) -> None:
    try:
        del entries[key]
    except KeyError:
        raise Abort("KEY") from None
    count = len(entries)
    if not count & (count - 1) and entries.__sizeof__() > SPARSE_BYTES * (count + 4):
        # CPython keeps the places of deleted keys, and whoever walks through the dict steps over them all.
        # Sizes differ between its versions, but neither result nor gas tells that a dict was made anew.
        items = list(entries.items())
        entries.clear()
        entries.update(items)


def _build_size_helpers(meter: Meter) -> dict[str, Native]:
    def fail(code: str, details: Mapping[str, bool | int | str | bytes]) -> NoReturn:
        charge(meter, gas.EMIT_WEIGHT * sum([gas.weigh_scalar(value) for value in details.values()]))
        raise Abort(code, tuple(sorted(details.items())))

    def probe(entries: dict[int, object]) -> dict[int, object]:
        charge(meter, len(entries) // gas.PROBES_PER_GAS)
        return entries

    return {"fail": fail, "probe": probe}


def _check_text(text: str) -> str:
    if len(text) > TEXT_SIZE_MAX or (not text.isascii() and len(text.encode("utf-8")) > TEXT_SIZE_MAX):
        raise Abort("VALUE_SIZE")
    return text


def _measure_all(parts: tuple[str, ...]) -> int:
    """Return how many bytes the texts take at most when they are joined: one wide character widens all."""
    size, is_wide = 0, False
    for part in parts:
        size += len(part)
        is_wide = is_wide or not part.isascii()
    return 4 * size if is_wide else size


def _build_text_helpers(meter: Meter) -> dict[str, Native]:
    def concat(a: str, b: str) -> str:
        size = len(a) + len(b)
        charge(meter, (size if a.isascii() and b.isascii() else 4 * size) // gas.CHARACTERS_PER_GAS)
        return _check_text(a + b)

    def concat_bytes(a: bytes, b: bytes) -> bytes:
        charge(meter, (len(a) + len(b)) // gas.CHARACTERS_PER_GAS)
        if len(a) + len(b) > TEXT_SIZE_MAX:
            raise Abort("VALUE_SIZE")
        return a + b

    def join(separator: str, parts: list[str]) -> str:
        charge(meter, len(parts))
        size = sum([len(part) for part in parts]) + len(separator) * len(parts)
        if size - len(separator) > TEXT_SIZE_MAX:
            raise Abort("VALUE_SIZE")
        is_wide = not (separator.isascii() and all(part.isascii() for part in parts))
        charge(meter, (4 * size if is_wide else size) // gas.CHARACTERS_PER_GAS)
        return _check_text(separator.join(parts))

    def join_parts(parts: tuple[str, ...]) -> str:
        charge(meter, _measure_all(parts) // gas.CHARACTERS_PER_GAS)
        return _check_text("".join(parts))

    return {"cat_str": concat, "cat_bytes": concat_bytes, "join": join, "join_parts": join_parts}


def _build_search_helpers(meter: Meter) -> dict[str, Native]:
    def find(text: str, part: str) -> int:
        charge(meter, len(text) * len(part) // gas.SEARCH_PER_GAS + len(text) // gas.CHARACTERS_PER_GAS)
        return text.find(part)

    def contains(part: str, text: str) -> bool:
        return find(text, part) >= 0

    def contains_bytes(part: bytes, text: bytes) -> bool:
        charge(meter, len(text) * len(part) // gas.SEARCH_PER_GAS + len(text) // gas.CHARACTERS_PER_GAS)
        return part in text

    def starts(text: str, part: str) -> bool:
        charge(meter, len(part) // gas.CHARACTERS_PER_GAS)
        return text.startswith(part)

    def ends(text: str, part: str) -> bool:
        charge(meter, len(part) // gas.CHARACTERS_PER_GAS)
        return text.endswith(part)

    return {
        "find": find,
        "has_str": contains,
        "has_bytes": contains_bytes,
        "starts": starts,
        "ends": ends,
    }


def _build_digest_helpers(meter: Meter) -> dict[str, Native]:
    def charge_hash(data: bytes) -> bytes:
        charge(meter, len(data) // gas.HASH_BYTES_PER_GAS)
        return data

    def verify(public_key: bytes, message: bytes, signature: bytes) -> bool:
        return verify_p256(public_key, charge_hash(message), signature)

    def encode(text: str) -> bytes:
        charge(meter, gas.measure_text(text) // gas.CHARACTERS_PER_GAS)
        return text.encode("utf-8")

    def spell_hex(data: bytes) -> str:
        charge(meter, 2 * len(data) // gas.CHARACTERS_PER_GAS)
        if 2 * len(data) > TEXT_SIZE_MAX:
            raise Abort("VALUE_SIZE")
        return data.hex()

    return {
        "sha256": lambda data: sha256(charge_hash(data)).digest(),
        "sha512": lambda data: sha512(charge_hash(data)).digest(),
        "sha3_256": lambda data: sha3_256(charge_hash(data)).digest(),
        "verify_p256": verify,
        "encode": encode,
        "hex": spell_hex,
    }


def _build_list_helpers(meter: Meter) -> dict[str, Native]:
    def concat(a: list[object], b: list[object]) -> list[object]:
        size = len(a) + len(b)
        charge(meter, size // gas.ITEMS_PER_GAS)
        if size > ITEM_COUNT_MAX:
            raise Abort("VALUE_SIZE")
        return a + b

    def cut(
        items: list[object] | str | bytes, start: int | None, stop: int | None
    ) -> list[object] | str | bytes:
        if isinstance(items, list):
            charge(meter, len(items) // gas.ITEMS_PER_GAS)
        else:
            size = gas.measure_text(items) if isinstance(items, str) else len(items)
            charge(meter, size // gas.CHARACTERS_PER_GAS)
        return items[start:stop]

    def prepay(cost: int, items: list[object] | str | bytes) -> list[object] | str | bytes:
        charge(meter, cost * len(items))
        # What the turns append would be turned over unpaid: they run over the items that were paid for.
        return items[:]

    def prepay_range(cost: int, start: int, stop: int) -> range:
        turns = max(stop - start, 0)
        charge(meter, cost * turns)
        return range(start, stop)

    def bounded(items: list[object]) -> list[object]:
        if len(items) > ITEM_COUNT_MAX:
            raise Abort("VALUE_SIZE")
        return items

    return {
        "cat_list": concat,
        "cut": cut,
        "prepay": prepay,
        "prepay_range": prepay_range,
        "bounded": bounded,
    }
