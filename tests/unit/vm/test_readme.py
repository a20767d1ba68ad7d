"""The language reference is true: its contracts run, its tables are those of the machine."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tanpo.ledger.transaction import Call
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


@pytest.mark.parametrize("code", REMEDIES)
def test_refusal_is_listed_with_its_remedy(code: str) -> None:
    row = next(line for line in TEXT.split("\n") if line.startswith(f"| `{code}` |"))
    assert row.endswith(f"| {REMEDIES[code]} |")


@pytest.mark.parametrize("op", gas.PRICES)
def test_price_is_listed(op: str) -> None:
    row = next(line for line in TEXT.split("\n") if f"`{op}`" in line and re.match(r"\| \d", line))
    assert row.startswith(f"| {gas.PRICES[op]} |")


def test_runtime_codes_and_rounding_modes_are_listed() -> None:
    for word in (*RUNTIME_CODES, *(f'"{mode}"' for mode in ROUNDING_MODES)):
        assert word in TEXT
