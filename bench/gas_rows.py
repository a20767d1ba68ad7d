"""The rows of the gas table as statements, with what they work on in several sizes.

A row is an operation, a kind of statement, or a line of the second table of `contracts/README.md`, section
11. Each has at least one measurement. Its statements may use the values of `SIZES`, the turn `i`, and the
state of `PRELUDE`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tanpo.ledger.keys import PrivateKey
from tanpo.ledger.values import Value

PRELUDE: Final = """
@record
class Pair:
    left: int
    right: int

@record
class Deep:
    name: str
    items: list[int]

CODE = "constant"
callee: Contract["callee"]
total: int
numbers: Map[str, int]
counts: Map[int, int]
names: Map[int, str]
pairs: Map[tuple[str, int], Pair]
lists: Map[int, list[int]]
groups: Map[int, list[str]]
deeps: Map[int, dict[str, Deep]]
nests: Map[int, list[list[int]]]
wides: Map[tuple[int, int, int, int, int, int, int, int], int]
members: Index[str, int]
labels: Index[int, str]

def plain(n: int) -> int:
    return n

def nothing(n: int) -> None:
    pass

@entry
def prepare(start: int) -> None:
    total = 5
    numbers["a"] = 5
    for n in range(start, start + 5):
        counts[n] = 1 << 200
        names[n] = "n"
        pairs[("a", n)] = Pair(n, n)
        members.add("a", n)
        labels.add(1, f"label-{n}")
        lists[n] = [n + 1000000 for k in range(1000)]
        if n < 100:
            names[n + 10000] = "".join(["name" for k in range(1000)])
            groups[n] = [f"group-{k}" for k in range(1000)]
            d: dict[str, Deep] = {}
            for k in range(220):
                d[f"deep-{k}"] = Deep("name", [k])
            deeps[n] = d
            none: list[int] = []
            nests[n] = [none for k in range(500)]
"""

_KEY = PrivateKey.generate()
_PREFIX = "prefix" * 50


def _list_probed(count: int) -> list[int]:
    """Return keys that stand one after the other where CPython seeks in a dict of 8,192 places."""
    keys = [1]
    while len(keys) < count:
        keys.append(5 * keys[-1] + 1 & 8_191)
    return keys


_PROBED: Final = _list_probed(4_000)
_PROBING: Final = 90_402_707_619_380_505
"""To seek this key takes 3,875 steps past the others, though no two hashes are equal."""

SIZES: Final[dict[str, dict[str, tuple[str, Value]]]] = {
    "small": {
        "x": ("int", 7),
        "y": ("int", 3),
        "h": ("int", 9),
        "p": ("bool", True),
        "s": ("str", "ab"),
        "t": ("str", "cd"),
        "u": ("str", "b"),
        "digits": ("str", "7"),
        "b": ("bytes", b"ab"),
        "c": ("bytes", b"b"),
        "key": ("bytes", b""),
        "signature": ("bytes", b""),
        "xs": ("list[int]", (1, 2, 3)),
        "zs": ("list[int]", (1, 2, 3)),
        "ys": ("list[str]", ("b", "a")),
        "bs": ("list[bool]", (True, False)),
        "d": ("dict[int, int]", ((0, 1), (7, 2))),
        "g": ("int", 7),
        "es": ("list[str]", ("", "a")),
        "e": ("dict[str, int]", (("ab", 1), ("cd", 2))),
        "f": ("dict[str, int]", (("ab", 1), ("cd", 2))),
        "r": ("Pair", {"left": 1, "right": 2}),
        "q": ("Deep", {"name": "a", "items": (1,)}),
        "qs": ("list[Deep]", ({"name": "a", "items": (1,)},)),
        "qs2": ("list[Deep]", ({"name": "a", "items": (1,)},)),
        "ws": ("list[list[int]]", ((1,), (2,))),
        "none": ("list[list[list[int]]]", ()),
        "k": ("tuple[str, int]", ("a", 1)),
        "ks": ("list[tuple[int, str]]", ((1, "a"), (0, "b"))),
        "k2": ("tuple[str, int]", ("a", 1)),
        "n": ("int", 1),
        "t2": ("str", "cd"),
        "t3": ("str", "cd"),
        "ds": ("list[dict[int, int]]", ((), ())),
        "ds2": ("list[dict[int, int]]", ((), ())),
        "gs": ("list[bytes]", (b"a", b"")),
        "gs2": ("list[bytes]", (b"a", b"")),
    },
    "large": {
        "x": ("int", 2**253 + 12_345),
        "y": ("int", 2**200 + 1),
        "h": ("int", 2**127 - 1),
        "p": ("bool", True),
        "s": ("str", "a" * 2_047 + "b"),
        "t": ("str", "a" * 2_047 + "c"),
        "u": ("str", "a" * 500 + "c"),
        "digits": ("str", "5" * 76),
        "b": ("bytes", b"a" * 2_047 + b"b"),
        "c": ("bytes", b"a" * 500 + b"c"),
        "key": ("bytes", _KEY.public_key.encoded),
        "signature": ("bytes", _KEY.sign(bytes(32))),
        # Neither sorted nor reversed; no two of them are the same object.
        "xs": ("list[int]", tuple(place * 2_741 % 4_096 + 10**9 for place in range(4_096))),
        "zs": ("list[int]", tuple(place * 2_741 % 4_096 + 10**9 for place in range(4_096))),
        "ys": ("list[str]", tuple(f"{_PREFIX}{place * 701 % 1_000:04}" for place in range(1_000))),
        "bs": ("list[bool]", (True,) * 4_096),
        "d": ("dict[int, int]", (*((place, 1) for place in sorted(_PROBED)), (_PROBING, 1))),
        "g": ("int", _PROBING),
        "es": ("list[str]", ("",) * 4_096),
        "e": ("dict[str, int]", tuple((f"{_PREFIX}{place:04}", place) for place in range(1_000))),
        "f": ("dict[str, int]", tuple((f"{_PREFIX}{place:04}", place) for place in range(1_000))),
        "r": ("Pair", {"left": 2**253, "right": 2**253}),
        "q": ("Deep", {"name": "a" * 4_096, "items": tuple(range(1_000))}),
        "qs": ("list[Deep]", tuple({"name": "a", "items": (1,)} for _ in range(1_000))),
        "qs2": ("list[Deep]", tuple({"name": "a", "items": (1,)} for _ in range(1_000))),
        "ws": ("list[list[int]]", tuple((place,) for place in range(1_000))),
        "none": ("list[list[list[int]]]", ()),
        "k": ("tuple[str, int]", ("a" * 400, 2**253)),
        "k2": ("tuple[str, int]", ("a" * 400, 2**253)),
        "ks": (
            "list[tuple[int, str]]",
            tuple((5, f"{_PREFIX}{place * 701 % 1_000:04}") for place in range(1_000)),
        ),
        "n": ("int", 4_096),
        "t2": ("str", "a" * 4_096),
        "t3": ("str", "a" * 4_096),
        "ds": ("list[dict[int, int]]", ((),) * 4_096),
        "ds2": ("list[dict[int, int]]", ((),) * 4_096),
        "gs": ("list[bytes]", (b"",) * 4_096),
        "gs2": ("list[bytes]", (b"",) * 4_096),
    },
    "wide": {
        "s": ("str", "\U00010348" + "a" * 2_040 + "b"),
        # One wide letter makes CPython store four bytes for each.
        "t": ("str", "\U00010348" + "a" * 2_040 + "c"),
        "t2": ("str", "\U00010348" + "a" * 4_091),
        "t3": ("str", "\U00010348" + "a" * 4_091),
        "u": ("str", "\U00010348" * 120 + "c"),
        "ys": ("list[str]", tuple("\U00010348" * 50 + f"{place * 701 % 1_000:04}" for place in range(1_000))),
    },
}
"""Values by name with their type. Texts that are not all ASCII take the place of the large ones in `wide`."""


@dataclass(frozen=True, slots=True)
class Row:
    """One measurement: the rows of the gas table that it stands for, and the statements that it runs.

    With `returns`, the statements are the whole body of a call, measured with all that belongs to a call;
    `may_fail` says that it ends in an abort. At most `turns_max` statements are run in one call.
    """

    names: str | tuple[str, ...]
    body: str
    turns_max: int = 1_000_000
    returns: str = ""
    may_fail: bool = False


_TURN: Final = "a turn of a loop or comprehension"
_ITEM: Final = "an item set or deleted in a list or dict"
_TEXT: Final = "joining, slicing and encoding text, `hex`"
_LISTS: Final = "joining and slicing lists"
_SEARCH: Final = "`in` and `find` on text"
_SAME: Final = "`==` on containers, `<` on text and tuples"
_SORT: Final = "`sorted` and loops over a dict"
_SOUGHT: Final = "a key sought, set or deleted in a dict with integer keys"
_CHAIN: Final = "each `==` and `!=` between texts or bytes"
_PARTS: Final = (
    "each part of a key, group or member beyond the fourth, and of each entry that a page may return"
)
_KEPT: Final = "a local that holds lists, dicts or records inside, written to the state"
_HASH: Final = "hashes and `verify_p256`"
_TOUCH: Final = (
    "a key of the state that the transaction reads or writes for the first time, an entry of an index too"
)
_WRITE: Final = "a write to the state"
_READ: Final = "a read of the state, `in` and `del` too"
_PAGE: Final = "a page of an index"
_ASK: Final = "`require`, `abort`"

_VALUES: Final = (
    Row(("Assign", "Const"), "a = 7"),
    Row("Local", "a = x"),
    Row("Const", "a = CODE"),
    Row("int.add", "a = h + y"),
    Row("int.add", "a = h + y + y + y + y + y + y + y"),
    Row("int.sub", "a = x - y"),
    Row("int.mul", "a = h * h"),
    Row("int.and", "a = x & y"),
    Row("int.or", "a = x | y"),
    Row("int.xor", "a = x ^ y"),
    Row("int.div", "a = x // y"),
    Row("int.div", "a = x // h"),
    Row("int.mod", "a = x % y"),
    Row("int.mod", "a = x % h"),
    Row("int.shl", "a = h << 100"),
    Row("int.shr", "a = x >> 1"),
    Row("int.neg", "a = -x"),
    Row("int.abs", "a = abs(x)"),
    Row("int.min", "a = min(x, y)"),
    Row("int.min", "a = min(x, y, x, y, x, y, x, y)"),
    Row("int.max", "a = max(x, y)"),
    Row("int.parse", "a = int(digits)"),
    Row("str.int", "w = str(x)"),
    Row("mul_div", 'a = mul_div(h, h, y, "HALF_EVEN")'),
    Row("mul_div", 'a = mul_div(x, y, x, "HALF_EVEN")'),
    Row("div_round", 'a = div_round(x, y, "HALF_EVEN")'),
    Row("bool.not", "o = not p"),
    Row("bool.and", "o = p and p"),
    Row("bool.and", "o = p and p and p and p and p and p"),
    Row("bool.or", "o = p or p"),
    Row("choose", "a = x if p else y"),
    Row("compare", "o = x < y"),
    Row("compare", "o = x == -(-x)"),
    Row("compare", "o = s == t"),
    Row(("compare", _CHAIN), "o = s == s != t == t == t == t"),
    Row(("compare", _CHAIN), "o = t2 == t3 == t2 == t3 == t2 == t3"),
    Row("compare", "o = y <= y <= y <= y <= y"),
    Row(("same", _SAME), "o = xs == zs"),
    Row(("same", _SAME), "o = e == f"),
    Row(("same", _SAME), "o = ds == ds2"),
    Row(("same", _SAME), "o = gs == gs2"),
    Row("same", "o = qs == qs2"),
    Row(("order", _SAME), "o = s < t"),
    Row(("order", _SAME), "o = k <= k2"),
    Row("ctx", "a = ctx.time"),
    Row("ctx.signers", "v = ctx.signers"),
    Row("ctx.signers", "a = len(ctx.signers)"),
)

_CONTAINERS: Final = (
    Row("field", "a = r.right"),
    Row("item.str", "w = s[0]"),
    Row("item.bytes", "a = b[0]"),
    Row("item.list", "a = xs[2]"),
    Row("item.dict", "a = d[g]"),
    Row("slice", "w = s[1:]"),
    Row(("slice", _TEXT), "z = b[1:]"),
    Row(("slice", _LISTS), "v = xs[1:]"),
    Row("contains.str", "o = u in s"),
    Row(("contains.bytes", _SEARCH), "o = c in b"),
    Row(("contains.list", "`in` on a list"), "o = 0 in xs"),
    Row("contains.list", "o = x in xs"),
    Row("contains.list", "o = s in ys", turns_max=1),
    Row(("contains.dict", "probe", _SOUGHT), "o = g in d"),
    Row("contains.dict", "o = 0 in d"),
    Row("contains.list", "o = ws in none"),
    Row("contains.dict", "o = s in e"),
    Row(("concat.str", _TEXT), "w = s + t"),
    Row("concat.bytes", "z = b + c"),
    Row(("concat.list", _LISTS), "v = [0] + xs[:2]"),
    Row("len", "a = len(xs)"),
    Row(("str.find", _SEARCH), "a = s.find(u)"),
    Row("str.startswith", "o = s.startswith(s)"),
    Row("str.endswith", "o = s.endswith(s)"),
    Row(("str.join", _TEXT), "w = u.join([u, u, u])"),
    Row("str.join", 'w = "".join(es)'),
    Row("format", 'w = f"{s}-{u}"'),
    Row("format", 'w = f"{x}"'),
    Row("str.encode", "z = s.encode()"),
    Row("bytes.hex", "w = b.hex()"),
    Row(("sha256", _HASH), "z = sha256(b)"),
    Row("sha512", "z = sha512(b)"),
    Row("sha3_256", "z = sha3_256(b)"),
    Row(("verify_p256", _HASH), "o = verify_p256(key, b, signature)"),
    Row(("sort.list", _SORT), "v = sorted(xs)"),
    Row("sort.list", "vs = sorted(ys)"),
    Row("sort.list", "v2 = sorted(ks)", turns_max=4),
    Row(("sort.dict", _SORT), "v = sorted(d)"),
    Row("sort.dict", "vs = sorted(e)"),
    Row("list.append", "grown.append(x)", turns_max=4_096),
    Row("list.pop", "grown.append(x)\na = grown.pop()", turns_max=4_096),
    Row("dict.get", "a = d.get(g, 1)"),
    Row("dict.get", "a = e.get(s, 1)"),
    Row("make.record", "r2 = Pair(x, y)"),
    Row("make.list", "v = [x]"),
    Row("make.list", "v = [x, x, x, x, x, x, x, x]"),
    Row("make.tuple", "v3 = (x, y)"),
    Row("make.dict", "v4 = {g: y}"),
    Row("make.dict", "v5 = {s: y, t: y}"),
    Row("copy", "v = lists[1]"),
    Row("copy", "v5 = deeps[1]"),
    Row(("Comprehension", _TURN), "v = [0 for j in range(n)]"),
    Row("Comprehension", "v = [j for j in zs]"),
    Row("Comprehension", "v = [j + 1 for j in range(n) if j > 0]"),
)

_STATEMENTS: Final = (
    Row("For", "for j in range(1):\n    a = 1"),
    Row(("For", "Jump"), "for j in range(2):\n    break"),
    Row("For", "for j in xs:\n    pass"),
    Row("For", "for j in s:\n    pass"),
    Row("For", "for j in b:\n    pass"),
    Row("For", "for j in d:\n    pass"),
    Row("For", "for v6 in ws:\n    pass"),
    Row("While", "while not p:\n    pass"),
    Row("While", "a = 9\nwhile a > 0:\n    a = a - 1"),
    Row("If", "if p:\n    a = 1"),
    Row("If", "if not p:\n    a = 1\nelse:\n    a = 2"),
    Row("If", "if not p:\n    a = 1\nelif not p:\n    a = 2\nelif p:\n    a = 3"),
    Row("Unpack", "a, a2 = (x, y)"),
    Row("Unpack", "w, a = k"),
    Row("SetField", "r.left = x"),
    Row("SetField", "r.left += 1"),
    Row(("SetItem", _ITEM), "xs[1] = x"),
    Row("SetItem", "d[g] = x"),
    Row("SetItem", "keyed[i << 40] = x", turns_max=4_096),
    Row("SetItem", "e[s] = x"),
    Row(("DeleteItem", _ITEM), "d[g] = x\ndel d[g]"),
    Row("DeleteItem", "e[s] = x\ndel e[s]"),
    Row("Evaluate", "nothing(x)"),
    Row(("call", "Return"), "a = plain(x)"),
    Row("call", "a = plain(plain(plain(plain(x))))"),
    Row(("Fail", _ASK), 'require(p, "CODE")'),
    Row("Fail", 'require(p, "CODE", a=x, b=s)'),
    Row("Fail", 'abort("CODE", a=s, b=x)', returns="None", may_fail=True),
    Row(("Emit", "an event"), 'emit("Event", a=x)', turns_max=900),
    Row("Emit", 'emit("Event", a=s, b=b)', turns_max=900),
    Row("Emit", 'emit("Event", a=e)', turns_max=1),
    Row("Emit", 'emit("Event", a=qs)', turns_max=1),
    Row("a call from outside", "pass", returns="None"),
    Row("a call from outside", "a = x", returns="None"),
    Row("a call from outside", "w = s\nw2 = ys\nv = xs\nv5 = d\nv6 = qs", returns="None"),
    Row("a result", "return xs", returns="list[int]"),
    Row("a result", "return e", returns="dict[str, int]"),
    Row("a result", "return qs", returns="list[Deep]"),
    Row(("call.cross", "a call from outside"), "a = callee.take(x)"),
    Row(("pass", "a list, dict or record handed to another contract"), "a = callee.take_list(xs)"),
    Row("a result of another contract that holds lists, dicts or records inside", "v6 = callee.give(n)"),
)

_STATE: Final = (
    Row("state.get", "a = total"),
    Row("state.get", 'a = numbers["a"]'),
    Row("state.get", "a = counts[i]", turns_max=1_000),
    Row("state.get", 'r2 = pairs[("a", i)]', turns_max=1_000),
    Row(("state.get", _READ), "v = lists[i]", turns_max=1_000),
    Row("state.get", "vs = groups[i]", turns_max=100),
    Row("state.get", "w = names[i + 10000]", turns_max=100),
    Row("state.get", "v5 = deeps[i]", turns_max=100),
    Row("state.get", "v5 = deeps[1]"),
    Row("state.find", "a = counts.get(i, 1)", turns_max=1_000),
    Row("state.find", "a = counts.get(-i, 1)"),
    Row("state.find", "v = lists.get(i, [])", turns_max=1_000),
    Row("state.find", "r2 = pairs.get(k, r)"),
    Row("state.has", "o = i in lists", turns_max=1_000),
    Row("state.has", "o = i in deeps", turns_max=100),
    Row("state.has", "o = i in nests", turns_max=100),
    Row("state.has", "o = -i in counts"),
    Row(("state.has", _PARTS), "o = (i, 1, 1, 1, 1, 1, 1, 1) in wides"),
    Row("state.get", "v = lists[1]"),
    Row("state.get", "vs = groups[1]"),
    Row("state.get", "w = names[10001]"),
    Row("state.find", "v = lists.get(1, [])"),
    Row("state.has", "o = 1 in lists"),
    Row(("Store", _WRITE), "total = x"),
    Row("Store", "counts[1] = x"),
    Row("Store", "names[1] = s"),
    Row("Store", "lists[1] = xs[:2000]"),
    Row("Erase", "lists[1] = xs[:2000]\ndel lists[1]"),
    Row("Store", "total += 1"),
    Row("Store", "counts[i] = x"),
    Row("Store", "counts[-i] += 1", turns_max=1),
    Row("Store", 'pairs[("b", i)] = r'),
    Row("Store", "names[i] = s"),
    Row(("Store", "keep", _KEPT), "nests[i] = ws[:400]"),
    Row("Store", "lists[i] = xs[:2000]"),
    Row("Store", "groups[i] = ys[:100]"),
    Row(("Erase", "a deletion from the state"), "del counts[i]", turns_max=1_000),
    Row("Erase", "del deeps[i]", turns_max=100),
    Row("Erase", 'numbers["b"] = 1\ndel numbers["b"]'),
    Row("index.add", 'members.add("b", i)'),
    Row("index.add", "labels.add(i, digits)"),
    Row("index.add", 'members.add("a", i)', turns_max=1_000),
    Row("index.remove", 'members.remove("a", i)', turns_max=1_000),
    Row("index.remove", 'members.add("b", i)\nmembers.remove("b", i)'),
    Row("index.add", 'members.add("b", 1)\nmembers.remove("b", 1)'),
    Row("index.contains", 'o = members.contains("a", 1)'),
    Row((_TOUCH, "index.contains"), 'o = members.contains("a", i)'),
    Row("index.contains", 'o = members.contains("b", i)'),
    Row(("index.page", _PAGE), 'v = members.page("a", 5, 1)'),
    Row("index.page", 'v = members.page("a", 5, 100)'),
    Row("index.page", "vs = labels.page(1, digits, 100)"),
    Row("index.page", 'v = members.page("none", 5, 100)'),
    Row("index.page", 'members.add("a", 5000 + i)\nv = members.page("a", 900, 100)', turns_max=200),
    Row("index.page", 'members.remove("a", i)\nv = members.page("a", -1, 100)', turns_max=200),
    Row("index.first", 'v = members.first("a", 1)'),
    Row("index.first", 'v = members.first("a", 100)'),
)

ROWS: Final = (Row(_TURN, "pass"), *_VALUES, *_CONTAINERS, *_STATEMENTS, *_STATE)
