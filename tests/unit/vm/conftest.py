"""A ledger in memory for the tests of the VM: deploy sources, call them, commit blocks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
from tanpo.ledger.transaction import Call
from tanpo.ledger.values import Value
from tanpo.vm import (
    ENGINES,
    CallContext,
    CompiledContract,
    Engine,
    Fault,
    Interface,
    Machine,
    Outcome,
    Session,
    check_contract,
    compile_contract,
)

GAS = 1_000_000


class MemoryState:
    """A committed state in a dict."""

    def __init__(self) -> None:
        self.entries: dict[bytes, bytes] = {}
        self.scans = 0

    def get(self, key: bytes) -> bytes | None:
        return self.entries.get(key)

    def scan(self, start: bytes, stop: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        self.scans += 1
        return sorted(item for item in self.entries.items() if start <= item[0] < stop)[:limit]


class Chain:
    """Contracts over a state in memory, one session a block."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.contracts: dict[str, CompiledContract] = {}
        self.state = MemoryState()
        self.context = CallContext(
            sender="alice", signers=("alice",), time_ms=1_000, height=7, tx_id=bytes(32)
        )
        self._machine: Machine | None = None
        self._session: Session | None = None

    def deploy(self, source: str, name: str = "t") -> CompiledContract:
        interfaces = {known: contract.interface for known, contract in self.contracts.items()}
        compiled = compile_contract(source, name=name, interfaces=interfaces)
        self.contracts[name] = compiled
        self._machine = self._session = None
        return compiled

    @property
    def machine(self) -> Machine:
        if self._machine is None:
            self._machine = Machine(self.contracts, engine=self.engine)
        return self._machine

    @property
    def session(self) -> Session:
        if self._session is None:
            self._session = self.machine.open_session(self.state)
        return self._session

    def commit(self) -> dict[bytes, bytes | None]:
        """End the block: write its changes and start another over them."""
        changes = self.session.collect_changes()
        for key, value in changes.items():
            if value is None:
                self.state.entries.pop(key, None)
            else:
                self.state.entries[key] = value
        self._session = None
        return changes

    def run(
        self, entry: str, /, *, contract: str = "t", gas: int = GAS, sender: str = "", **arguments: Any
    ) -> Outcome:
        context = replace(self.context, sender=sender) if sender else self.context
        return self.session.run(Call.create(contract, entry, arguments), context, gas)

    def view(self, entry: str, /, *, contract: str = "t", gas: int = GAS, **arguments: Any) -> Outcome:
        return self.session.view(Call.create(contract, entry, arguments), self.context, gas)

    def value(self, entry: str, /, *, contract: str = "t", **arguments: Any) -> Value | None:
        """Run an entry point that must succeed, and return its result."""
        outcome = self.run(entry, contract=contract, **arguments)
        assert outcome.ok, outcome
        return outcome.value

    def code(self, entry: str, /, *, contract: str = "t", **arguments: Any) -> str:
        """Run an entry point that must fail, and return its code."""
        outcome = self.run(entry, contract=contract, **arguments)
        assert not outcome.ok, outcome
        return outcome.code


@pytest.fixture(params=sorted(ENGINES))
def chain(request: pytest.FixtureRequest) -> Chain:
    return Chain(ENGINES[request.param])


@pytest.fixture
def evaluate(chain: Chain) -> Callable[..., Outcome]:
    """Run the body of one function with the given declarations, and return its outcome."""

    def run(body: str, returns: str = "int", before: str = "", **arguments: Any) -> Outcome:
        names = {int: "int", str: "str", bytes: "bytes", bool: "bool"}
        parameters = ", ".join(f"{name}: {names[type(value)]}" for name, value in arguments.items())
        lines = "".join(f"    {line}\n" for line in body.strip().split("\n"))
        chain.deploy(f"{before}\n@entry\ndef main({parameters}) -> {returns}:\n{lines}")
        return chain.run("main", **arguments)

    return run


@pytest.fixture
def faults() -> Callable[..., tuple[Fault, ...]]:
    """Check a source and return its faults."""

    def check(source: str, interfaces: Mapping[str, Interface] | None = None) -> tuple[Fault, ...]:
        return check_contract(source, name="t", interfaces=interfaces or {})

    return check
