"""Prints one digest over what the VM does, for comparison between versions of Python and hash seeds.

Runs on the standard library alone: the package of the ledger is entered without its `__init__`, which would
bring in the library for signatures.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT / "consensus"), str(ROOT / "contracts")]
LEDGER = ModuleType("tanpo.ledger")
LEDGER.__path__ = [str(ROOT / "consensus" / "tanpo" / "ledger")]
sys.modules["tanpo.ledger"] = LEDGER

from tanpo.ledger.values import Fields  # noqa: E402 - paths come first
from tanpo.vm import (  # noqa: E402 - paths come first
    ENGINES,
    CallContext,
    Machine,
    check_contract,
    compile_contract,
    list_places,
)

SOURCE = """
@record
class Item:
    owner: str
    amount: int
    tags: list[str]
    by: dict[str, int]

items: Map[str, Item]
codes: Map[tuple[int, str], bytes]
held: Index[str, tuple[int, str]]
total: int

def inner(x: int, y: int) -> int:
    return (
        x
        //
        y
    )

@entry
def fill(n: int) -> int:
    total = 0
    for i in range(n):
        key = f"k{i}"
        by = {"z": i, "a": -i}
        by[key] = i * i
        items[key] = Item(ctx.sender, i << 100, [key, key + "x"], by)
        codes[(-i, key)] = sha256(b"x")[:i]
        held.add("all", (i % 3, key))
        total += mul_div(i, 7, 3, "HALF_EVEN")
        emit("Filled", key=key, by=by, i=i)
    t = ""
    for k in {"c": 1, "b": 2, "a": 3}:
        t = t + k
    require(t == "abc", "ORDER")
    t = f"" + f"a" + f"{t}" + f"{t}{n}" + f"\\x7b{t}\\n\\'" + f'{n}"' + ""
    emit("Text", t=t)
    return total

@entry
def break_it(how: int, xs: list[int], d: dict[int, int]) -> list[int]:
    total = total + 1
    if how == 0:
        return [inner(x, how)
                for x in xs]
    elif how == 1:
        return [xs[
            100]]
    elif how == 2:
        return [d[100]]
    elif how == 3:
        abort("MINE", how=how, who=ctx.sender)
    elif how == 4:
        return [1 << 254 << 1]
    while how > 4:
        how += (1 if how == 5 else
                2)
    return sorted(xs)[1:] + [len(xs)] + [k for k in d]

@view
def look(after: int) -> list[tuple[int, str]]:
    return held.page("all", (after, "k1"), 5)
"""


@dataclass
class Call:
    contract: str
    entry: str
    arguments: Fields


REFUSED = (
    "x = (",
    "x = = 1",
    "@view\ndef f(a: int) -> str:\n    return f'{a!r}' + f'{b}' + 'x' * 2\n",
    "@view\ndef f(a: int) -> int:\n    x = 1.5; return [y for y in z for q in y]\n",
    "@view\ndef f(a: int) -> int:\n    s = (f'{a}'\n         f'{c}')\n    return a / 2\n",
    "".join(f"x{n}: float = y{n}\n" for n in range(200)),
    "".join(f"    x = {n} / 2, 1.5, None\n" for n in range(80)),
    "@view\ndef f(a: int) -> int:\n" + "".join(f"    x{n} = {n} / 2 + 1.5 + None\n" for n in range(80)),
)


class State:
    def get(self, key: bytes) -> bytes | None:
        return None

    def scan(self, start: bytes, stop: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        return []


def main() -> None:
    compiled = compile_contract(SOURCE, name="t", interfaces={})
    digests = {name: digest(Machine({"t": compiled}, engine=engine)) for name, engine in ENGINES.items()}
    if len(set(digests.values())) != 1:
        raise SystemExit(f"the engines differ: {digests}")
    sys.stdout.write(digests["codegen"])


def digest(machine: Machine) -> str:
    session = machine.open_session(State())
    context = CallContext(sender="alice", signers=("alice", "bob"), time_ms=5, height=3, tx_id=b"i" * 32)
    seen: list[object] = [session.run(Call("t", "fill", (("n", 12),)), context, 500_000)]
    for how in range(7):
        arguments: Fields = (("d", ((1, 2), (5, 3))), ("how", how), ("xs", (3, 1, 2)))
        seen.append(session.run(Call("t", "break_it", arguments), context, 20_000))
    for gas in range(60, 3000, 97):
        seen.append(session.run(Call("t", "fill", (("n", 12),)), context, gas))
    seen.append(session.view(Call("t", "look", (("after", 0),)), context, 20_000))
    seen.append(sorted(session.collect_changes().items()))
    seen.append(
        [str(fault) for fault in check_contract("x = 1.5\nclass A:\n    pass\n", name="t", interfaces={})]
    )
    seen.append([list_places(check_contract(source, name="t", interfaces={})) for source in REFUSED])
    return sha256(repr(seen).encode("utf-8")).hexdigest()


main()
