"""Attacks on the contract machine as text files: what each tries, its source, and how it must end.

The language of the files is described in `tests/attacks/README.md`. Everything here runs on the standard
library, so that any version of Python can replay the files.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tanpo.ledger.values import Fields
from tanpo.testing.state import MemoryState
from tanpo.vm import CallContext, CompiledContract, Machine, Outcome, Session, compile_contract
from tanpo.vm.codegen import build_program
from tanpo.vm.engine import Engine
from tanpo.vm.faults import ContractRefused

GAS: Final = 1_000_000
_CONTEXT: Final = CallContext(
    sender="alice", signers=("alice", "bob"), time_ms=1_000, height=7, tx_id=bytes(32)
)
_TEMPLATE: Final = re.compile(r'\{\{("(?:\\.|[^"\\])*")(?: \* (\d+)| for (\d+)\.\.(\d+))?\}\}')
_CALL: Final = re.compile(r"(.*\)) (?:fails ([A-Z_]+)|gives (.*))\Z")

PRELUDE: Final = """@record
class Lot:
    owner: str
    tags: list[str]

LIMIT = 5
lots: Map[str, Lot]
members: Index[str, str]
counts: Map[int, int]
grid: Map[str, list[list[int]]]
total: int
names: list[str]

@init
def setup() -> None:
    total = 7
    names = ["n"]
    lots["l"] = Lot("o", ["t"])
"""
"""What an attack that gives only a body finds around it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One call, and the code or the result that it must have."""

    contract: str
    entry: str
    arguments: Fields
    code: str
    value: object


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """One attack: contracts in order of installation, and either why the last is refused or how calls end."""

    category: str
    title: str
    sources: tuple[tuple[str, str], ...]
    refused: tuple[str, ...]
    steps: tuple[Step, ...]

    @property
    def place(self) -> str:
        """Category and title: the name of the attack in reports."""
        return f"{self.category}: {self.title}"


def load_attacks(folder: Path) -> list[Attack]:
    """Return the attacks of every text file in a folder, by file and in the order written."""
    return [
        attack
        for path in sorted(folder.glob("*.txt"))
        for attack in parse_attacks(path.stem, path.read_text(encoding="utf-8"))
    ]


def parse_attacks(category: str, text: str) -> list[Attack]:
    """Return the attacks of one file."""
    known: dict[str, list[str]] = {}
    return [_parse(category, title, lines, known) for title, lines in _split(text)]


def _split(text: str) -> list[tuple[str, list[str]]]:
    entries: list[tuple[str, list[str]]] = []
    for line in text.split("\n"):
        if line.startswith("== "):
            entries.append((line[3:], []))
        elif entries and not line.startswith("## "):
            entries[-1][1].append(line)
    return entries


@dataclass(slots=True)
class _Draft:
    """An attack while its lines are read."""

    body: list[str] = field(default_factory=list)
    before: list[str] = field(default_factory=list)
    returns: str = "None"
    arguments: dict[str, object] = field(default_factory=dict)
    contracts: list[tuple[str, list[str]]] = field(default_factory=list)
    refused: tuple[str, ...] = ()
    ends: list[tuple[str, str, str]] = field(default_factory=list)

    def read(self, line: str, known: dict[str, list[str]]) -> None:
        """Take one line of the file. `known` holds the contracts that attacks above it brought, by name."""
        if not line.startswith("> "):
            (self.contracts[-1][1] if self.contracts else self.body).append(line)
            return
        word, _, rest = _expand(line[2:]).partition(" ")
        if word in ("call", "fails", "gives"):
            self._read_end(word, rest)
        elif word in ("contract", "again"):
            self._read_contracts(word, rest, known)
        else:
            self._read_setting(word, rest)

    def _read_end(self, word: str, rest: str) -> None:
        match = _CALL.match(rest) if word == "call" else None
        if match is not None:
            self.ends.append((match[1], match[2] or "", match[3] or ""))
        elif word == "call":
            raise ValueError(f"not a call with its end: {rest}")
        else:
            self.ends.append(("", rest, "") if word == "fails" else ("", "", rest))

    def _read_contracts(self, word: str, rest: str, known: dict[str, list[str]]) -> None:
        if word == "contract":
            known[rest] = []
        self.contracts += [(name, known[name]) for name in rest.split()]

    def _read_setting(self, word: str, rest: str) -> None:
        match word:
            case "before":
                self.before.append(rest)
            case "returns":
                self.returns = rest
            case "args":
                self.arguments.update(_read_keywords(f"main({rest})")[1])
            case "refused":
                self.refused = tuple(sorted(rest.split()))
            case _:
                raise ValueError(f"unknown word {word}")

    def build_steps(self) -> tuple[Step, ...]:
        """Return the calls; without one of its own, an end is that of `main`."""
        return tuple(self._make_step(*end) for end in self.ends)

    def _make_step(self, call: str, code: str, value: str) -> Step:
        name, arguments = _read_keywords(call) if call else ("t.main", self._standard())
        contract, _, entry = name.rpartition(".")
        given = tuple(sorted(arguments.items()))
        return Step(
            contract=contract or "t",
            entry=entry,
            arguments=given,  # type: ignore[arg-type]  # attacks pass what is no value, too
            code=code,
            value=None if code else ast.literal_eval(value),
        )

    def _standard(self) -> dict[str, object]:
        """Return the arguments of the standard entry point; a contract of its own takes those it asks for."""
        if self.contracts:
            return self.arguments
        return {"a": 1, "s": "abc", "b": b"xyz", "xs": (3, 1, 2)} | self.arguments

    def build_sources(self) -> tuple[tuple[str, str], ...]:
        """Return the contracts as text, templates written out."""
        if self.contracts:
            return tuple((name, _expand("\n".join(lines)) + "\n") for name, lines in self.contracts)
        body = _expand("\n".join(self.body)).rstrip("\n")
        before = _expand("\n".join(self.before))
        head = f"{before}\n@entry\ndef main(a: int, s: str, b: bytes, xs: list[int]) -> {self.returns}:\n"
        return (("t", PRELUDE + head + "".join(f"    {line}\n" for line in body.split("\n"))),)


def _read_keywords(call: str) -> tuple[str, dict[str, object]]:
    node = ast.parse(call, mode="eval").body
    if not isinstance(node, ast.Call):
        raise ValueError(f"not a call: {call}")
    return ast.unparse(node.func), {part.arg or "": ast.literal_eval(part.value) for part in node.keywords}


def _parse(category: str, title: str, lines: list[str], known: dict[str, list[str]]) -> Attack:
    draft = _Draft()
    for line in lines:
        draft.read(line, known)
    if bool(draft.refused) == bool(draft.ends):
        raise ValueError(f"{category}: {title}: refused, or calls with their ends")
    return Attack(
        category=category,
        title=title,
        sources=draft.build_sources(),
        refused=draft.refused,
        steps=draft.build_steps(),
    )


def _expand(text: str) -> str:
    """Write templates out: a string, a string many times, or with `$` counting and `$$` one behind."""

    def write(match: re.Match[str]) -> str:
        piece = str(json.loads(match[1]))
        if match[2]:
            return piece * int(match[2])
        if match[3]:
            turns = range(int(match[3]), int(match[4]) + 1)
            return "".join(piece.replace("$$", str(turn - 1)).replace("$", str(turn)) for turn in turns)
        return piece

    return _TEMPLATE.sub(write, text)


def compile_attack(attack: Attack) -> dict[str, CompiledContract]:
    """Check the contracts of an attack one after the other, each against those before it.

    Raises:
        ContractRefused: for the first that is none.
    """
    contracts: dict[str, CompiledContract] = {}
    for name, source in attack.sources:
        interfaces = {known: contract.interface for known, contract in contracts.items()}
        contracts[name] = compile_contract(source, name=name, interfaces=interfaces)
    return contracts


def find_refusal(attack: Attack) -> tuple[str, ...]:
    """Return the codes for which a contract of the attack is refused; none if all are accepted."""
    try:
        compile_attack(attack)
    except ContractRefused as refusal:
        return tuple(sorted({fault.code for fault in refusal.faults}))
    return ()


def run_attack(
    attack: Attack, contracts: Mapping[str, CompiledContract], engine: Engine = build_program
) -> list[Outcome]:
    """Run the calls of an attack in one block, after the `@init` of its contracts; return their outcomes."""
    session = Machine(contracts, engine=engine).open_session(MemoryState())
    initialise(attack, session)
    return run_steps(attack, session)


def initialise(attack: Attack, session: Session) -> None:
    """Run the `@init` of every contract of an attack."""
    for name, _ in attack.sources:
        session.initialise(name, (), _CONTEXT, GAS)


def run_steps(attack: Attack, session: Session) -> list[Outcome]:
    """Run the calls of an attack and return their outcomes."""
    return [session.run(step, _CONTEXT, GAS) for step in attack.steps]


def describe_ends(outcomes: list[Outcome]) -> list[Mapping[str, object]]:
    """Return everything about outcomes that two engines must agree on."""
    return [
        {
            "code": outcome.code,
            "contract": outcome.contract,
            "line": outcome.line,
            "gas": outcome.gas_used,
            "details": outcome.details,
            "value": outcome.value,
            "events": outcome.events,
        }
        for outcome in outcomes
    ]
