"""Contracts on the ledger: installed from genesis into the state, loaded from the state at every start."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from tanpo.ledger.codec import Reader, Writer
from tanpo.ledger.errors import CorruptState, LedgerError, Reason, UsageError
from tanpo.ledger.genesis import Genesis
from tanpo.node.contract_sets import ContractSet, ContractSource, Programs
from tanpo.node.epochs import check_genesis
from tanpo.vm import (
    GAS_LIMIT_MAX,
    CallContext,
    CompiledContract,
    Interface,
    Machine,
    StateReader,
    compile_contract,
)

CONTRACTS_PREFIX: Final = b"\x02\x00contract/"
SOURCE_BYTES_MAX: Final = 64 * 1024
CONTRACTS_MAX: Final = 1_000


class EmptyState:
    """The state before genesis."""

    def get(self, _key: bytes) -> bytes | None:
        """Return None: there is nothing yet."""
        return None

    def scan(self, _start: bytes, _stop: bytes, _limit: int) -> list[tuple[bytes, bytes]]:
        """Return nothing."""
        return []


def install_genesis(genesis: Genesis) -> dict[bytes, bytes | None]:
    """Return the state that genesis begins with: its contracts' source, and what their `@init` wrote.

    Raises:
        ContractRefused: a contract does not compile.
        UsageError: an `@init` failed, or the validators of genesis are not those of its contract.
    """
    machine = Machine(compile_contracts((c.name, c.source) for c in genesis.contracts))
    session = machine.open_session(EmptyState())
    changes: dict[bytes, bytes | None] = {}
    for order, contract in enumerate(genesis.contracts):
        context = CallContext(
            sender="", signers=(), time_ms=genesis.time_ms, height=0, tx_id=genesis.network_id
        )
        outcome = session.initialise(contract.name, contract.arguments, context, GAS_LIMIT_MAX)
        if not outcome.ok:
            raise UsageError(
                Reason.CONFIGURATION,
                f"contract {contract.name} refuses its initial arguments: {outcome.code}",
                value=dict(outcome.details),
                remedy=f"correct the genesis; see line {outcome.line} of the contract",
            )
        record = Writer().u32(order).blob(contract.source.encode("utf-8")).finish()
        changes[CONTRACTS_PREFIX + contract.name.encode("ascii")] = record
    check_genesis(session, genesis)
    return {**changes, **session.collect_changes()}


def load_contracts(state: StateReader) -> dict[str, CompiledContract]:
    """Return the contracts in the state, compiled. Raises `CorruptState` as `compile_stored` does."""
    return compile_stored(Programs(), load_contract_set(state))


def load_contract_set(state: StateReader) -> ContractSet:
    """Return the contracts in the state."""
    stored: list[tuple[int, str, str]] = []
    for key, value in state.scan(CONTRACTS_PREFIX, CONTRACTS_PREFIX + b"\xff", CONTRACTS_MAX):
        reader = Reader(value)
        order, source = reader.u32(), reader.blob(SOURCE_BYTES_MAX)
        reader.finish()
        name = key[len(CONTRACTS_PREFIX) :].decode("ascii")
        stored.append((order, name, source.decode("utf-8")))
    return ContractSet.create(ContractSource.create(name, source) for _, name, source in sorted(stored))


def compile_stored(programs: Programs, contracts: ContractSet) -> dict[str, CompiledContract]:
    """Return the contracts of a set from the state, compiled.

    Raises:
        CorruptState: what is stored does not compile, although it did when it was installed.
    """
    try:
        return programs.compile(contracts)
    except LedgerError as error:
        raise CorruptState(
            Reason.DATA_CORRUPT,
            f"an installed contract no longer compiles: {error.message}",
            remedy="run the software version the network runs; if it does, put blocks/, state/, guard and "
            "network of another stopped node in place of these, and leave consensus/ as it is",
        ) from None


def compile_contracts(sources: Iterable[tuple[str, str]]) -> dict[str, CompiledContract]:
    """Return contracts by name; each may call those before it. Raises `ContractRefused`."""
    compiled: dict[str, CompiledContract] = {}
    interfaces: dict[str, Interface] = {}
    for name, source in sources:
        compiled[name] = compile_contract(source, name=name, interfaces=interfaces)
        interfaces[name] = compiled[name].interface
    return compiled
