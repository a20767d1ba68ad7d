"""The language reference is true: its contracts run, its tables are those of the machine."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tanpo.ledger.transaction import Call
from tanpo.testing.attacks import find_refusal, parse_attacks
from tanpo.vm import Outcome, gas
from tanpo.vm.calls import ROUNDING_MODES
from tanpo.vm.faults import REMEDIES
from tanpo.vm.scope import RUNTIME_CODES

if TYPE_CHECKING:
    Chain = Any

TEXT = (Path(__file__).resolve().parents[3] / "contracts" / "README.md").read_text(encoding="utf-8")
FENCE = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)


def collect_examples() -> list[tuple[list[tuple[str, str]], str]]:
    """Return (contracts by name, console) for each console block and the sources before it."""
    examples: list[tuple[list[tuple[str, str]], str]] = []
    sources: list[tuple[str, str]] = []
    for language, body in FENCE.findall(TEXT):
        if language == "python":
            named = re.match(r"# contract: (\w+)\n", body)
            sources.append((named[1] if named else "t", body))
        elif language == "console":
            examples.append((sources, body))
            sources = []
    assert not sources, "a contract without a console block"
    return examples


EXAMPLES = collect_examples()


def call(chain: Chain, line: str) -> Outcome:
    """Make the call that a line of a console block spells."""
    node = ast.parse(line, mode="eval").body
    assert isinstance(node, ast.Call)
    contract, _, name = ast.unparse(node.func).rpartition(".")
    contract = contract or "t"
    arguments = {keyword.arg: ast.literal_eval(keyword.value) for keyword in node.keywords if keyword.arg}
    interface = chain.contracts[contract].interface
    request = Call.create(contract, name, arguments)
    if interface.find_view(name):
        return chain.session.view(request, chain.context, 1_000_000)  # type: ignore[no-any-return]  # a fixture
    if interface.find_entry(name):
        return chain.session.run(request, chain.context, 1_000_000)  # type: ignore[no-any-return]  # a fixture
    return chain.session.initialise(contract, request.arguments, chain.context, 1_000_000)  # type: ignore[no-any-return]  # a fixture


@pytest.mark.parametrize(("sources", "console"), EXAMPLES, ids=[str(place) for place in range(len(EXAMPLES))])
def test_example_does_what_it_says(sources: list[tuple[str, str]], console: str, chain: Chain) -> None:
    for name, source in sources:
        chain.deploy(source, name)
    lines = console.strip().split("\n")
    for line, expected in zip(lines[::2], lines[1::2], strict=True):
        outcome = call(chain, line.removeprefix("> "))
        shown = repr(outcome.value) if outcome.ok else f"fails with {outcome.code}"
        assert shown == expected, line


def collect_refusals() -> list[tuple[str, str, str]]:
    """Return (code, example, remedy) for each row of the table of refusals."""
    section = TEXT.partition("## 12. Refusals")[2]
    return re.findall(r"^\| `([A-Z_]+)` \| .+? \| `(.+)` \| (.+) \|$", section, re.MULTILINE)


REFUSALS = collect_refusals()


def test_every_refusal_is_listed_with_its_remedy() -> None:
    assert [(code, remedy) for code, _, remedy in REFUSALS] == list(REMEDIES.items())


@pytest.mark.parametrize(("code", "example"), [row[:2] for row in REFUSALS], ids=[row[0] for row in REFUSALS])
def test_example_of_a_refusal_is_refused_so(code: str, example: str) -> None:
    kind, _, text = example.partition(": ")
    lines = (text if kind in ("top", "all") else example).replace("⏎", "\n").split("\n")
    head = {"top": [f"> before {line}" for line in lines] + ["pass"], "all": ["> contract t", *lines]}
    entry = "\n".join(["== example", f"> refused {code}", *head.get(kind, lines)])
    assert find_refusal(parse_attacks("readme", entry)[0]) == (code,)


def test_table_of_gas_is_that_of_the_machine() -> None:
    rows = re.findall(r"^\| (\d+) \| (`.+`) \|$", TEXT, re.MULTILINE)
    listed = {op: int(price) for price, ops in rows for op in re.findall(r"`([^`]+)`", ops)}
    assert listed == gas.PRICES
    assert [int(price) for price, _ in rows] == sorted({*gas.PRICES.values()})


SIZED = {
    "a call from outside": (gas.CALL_BASE, gas.CALL_WEIGHT, gas.PASS_WEIGHT),
    "a turn of a loop or comprehension": gas.LOOP,
    "a key of the state that the transaction reads or writes for the first time, an entry of an index too": (
        gas.TOUCH
    ),
    "a write to the state": (gas.STORE, gas.STORE_WEIGHT),
    "a read of the state, `in` and `del` too": gas.READ_WEIGHT,
    "a deletion from the state": gas.ERASE,
    "each part of a key, group or member beyond the fourth, and of each entry that a page may return": (
        gas.KEY_PART
    ),
    "an item set or deleted in a list or dict": gas.DICT_STORE,
    "an event": (gas.EMIT, gas.EMIT_WEIGHT),
    "a result": gas.RESULT_WEIGHT,
    "`require`, `abort`": (gas.FAIL, gas.EMIT_WEIGHT),
    "a page of an index": (gas.SCAN, gas.PAGE_ITEM, gas.PAGE_ITEM, gas.PAGE_TOUCHED, gas.PAGE_TOUCHED),
    "joining, slicing and encoding text, `hex`": (1, gas.CHARACTERS_PER_GAS),
    "each `==` and `!=` between texts or bytes": gas.COMPARE_TEXT,
    "joining and slicing lists": (1, gas.ITEMS_PER_GAS),
    "`in` and `find` on text": (1, gas.SEARCH_PER_GAS),
    "`in` on a list": (1, gas.COMPARISONS_PER_GAS),
    "a key sought, set or deleted in a dict with integer keys": (1, gas.PROBES_PER_GAS),
    "a local that holds lists, dicts or records inside, written to the state": gas.PASS_WEIGHT,
    "a list, dict or record handed to another contract": gas.PASS_WEIGHT,
    "a result of another contract that holds lists, dicts or records inside": gas.PASS_WEIGHT,
    "hashes and `verify_p256`": (1, gas.HASH_BYTES_PER_GAS),
}


@pytest.mark.parametrize(("what", "numbers"), SIZED.items(), ids=SIZED.keys())
def test_price_by_size_is_that_of_the_machine(what: str, numbers: int | tuple[int, ...]) -> None:
    row = next(line for line in TEXT.split("\n") if line.startswith(f"| {what} |"))
    stated = tuple(int(number) for number in re.findall(r"\b\d+\b", row.split("|")[2]))
    assert stated == (numbers if isinstance(numbers, tuple) else (numbers,))


def test_weight_of_containers_is_that_of_the_machine() -> None:
    assert gas.CONTAINER_WEIGHT == 4
    assert "a list or dict weighs four" in TEXT


def test_weight_of_integer_keys_is_that_of_the_machine() -> None:
    assert f"each integer key weighs {gas.PROBED_WEIGHT} more for every 1,024 keys" in TEXT


def test_no_price_by_size_is_left_out() -> None:
    names = {"CONTAINER_WEIGHT", "PROBED_WEIGHT"} ^ {
        name for name, value in vars(gas).items() if name.isupper() and isinstance(value, int)
    }
    source = Path(__file__).read_text(encoding="utf-8").partition("SIZED = {")[2].partition("}")[0]
    assert names - {"CONTAINER_WEIGHT", "PROBED_WEIGHT"} == set(re.findall(r"gas\.([A-Z_]+)", source))


def test_runtime_codes_and_rounding_modes_are_listed() -> None:
    for word in (*RUNTIME_CODES, *(f'"{mode}"' for mode in ROUNDING_MODES)):
        assert word in TEXT
