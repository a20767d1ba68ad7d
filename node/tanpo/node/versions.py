"""Contracts of a state: which version of which source is in force, compiled and ready to run.

The state holds source only. The version in force stands under the contract's name, those before it under name
and number, so that whoever executes old blocks again, or reads history, finds what ran then.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tanpo.ledger.contractversion import (
    CONTRACTS_PREFIX,
    ContractVersion,
    compute_version_key,
    decode_version,
)
from tanpo.ledger.errors import CorruptState, LedgerError, Reason
from tanpo.node.contract_sets import CONTRACTS_MAX, ContractSet, ContractSource, Programs
from tanpo.vm import (
    GAS_TABLE_VERSION,
    LANGUAGE_VERSION,
    CompiledContract,
    ContractRefused,
    Interface,
    Machine,
    StateReader,
    sort_by_handles,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class InstalledContracts:
    """The contracts of one state. Immutable: an installation or upgrade makes new ones.

    `sources` are what a block runs with, wherever it runs.
    """

    versions: Mapping[str, ContractVersion] = field(default_factory=dict)
    compiled: Mapping[str, CompiledContract] = field(default_factory=dict)
    machine: Machine = field(default_factory=lambda: Machine({}))
    sources: ContractSet = field(default_factory=lambda: ContractSet.create(()))

    def replace(self, version: ContractVersion, compiled: CompiledContract) -> InstalledContracts:
        """Return the set with one contract added, or put in another's place."""
        versions = {**self.versions, version.name: version}
        return InstalledContracts(
            versions=versions,
            compiled={**self.compiled, version.name: compiled},
            machine=self.machine.replace(compiled),
            sources=ContractSet.create(
                ContractSource.create(one.name, one.source, one.language_version) for one in _sort(versions)
            ),
        )

    def list_interfaces(self, besides: str) -> dict[str, Interface]:
        """Return the interfaces that a source named `besides` may have handles of."""
        return {name: one.interface for name, one in self.compiled.items() if name != besides}


def find_version(
    state: StateReader, contracts: InstalledContracts, name: str, version: int
) -> ContractVersion | None:
    """Return a version of a contract, the one in force for 0; None if there is none."""
    current = contracts.versions.get(name)
    if current is None or version in (0, current.version):
        return current
    encoded = state.get(compute_version_key(name, version)) if 0 < version < current.version else None
    return None if encoded is None else decode_version(name, encoded)


def load_contracts(state: StateReader, programs: Programs) -> InstalledContracts:
    """Return the contracts in the state, compiled.

    Raises:
        CorruptState: what is stored does not compile, although it did when it was installed.
    """
    contracts = InstalledContracts()
    try:
        for version in list_versions(state):
            contracts = _add(contracts, version, programs)
    except ContractRefused as error:
        raise _corrupt(error.message) from None
    programs.adopt(contracts.sources, contracts.compiled, contracts.machine)
    return contracts


def list_versions(state: StateReader) -> list[ContractVersion]:
    """Return the contracts in the state, each after those it has handles of.

    Raises:
        CorruptState: a record is damaged, or of a language that this software does not run.
    """
    versions = _sort(_read_versions(state))
    for version in versions:
        if (version.language_version, version.gas_table_version) != (LANGUAGE_VERSION, GAS_TABLE_VERSION):
            raise _corrupt(f"{version.name} is in version {version.language_version} of the language")
    return versions


def _add(contracts: InstalledContracts, version: ContractVersion, programs: Programs) -> InstalledContracts:
    interfaces = contracts.list_interfaces(version.name)
    return contracts.replace(
        version, programs.compile_source(version.source, name=version.name, interfaces=interfaces)
    )


def _read_versions(state: StateReader) -> dict[str, ContractVersion]:
    versions: dict[str, ContractVersion] = {}
    for key, value in state.scan(CONTRACTS_PREFIX, CONTRACTS_PREFIX + b"\xff", CONTRACTS_MAX):
        try:
            name = key[len(CONTRACTS_PREFIX) :].decode("ascii")
            versions[name] = decode_version(name, value)
        except (LedgerError, UnicodeDecodeError):
            raise _corrupt(f"the record under {key.hex()} is damaged") from None
    return versions


def _sort(versions: Mapping[str, ContractVersion]) -> list[ContractVersion]:
    """Return versions in an order in which each has handles only of those before it."""
    order, stuck = sort_by_handles({name: one.imports for name, one in versions.items()})
    if stuck:
        raise _corrupt(f"contracts need each other: {', '.join(stuck)}")
    return [versions[name] for name in order]


def _corrupt(why: str) -> CorruptState:
    return CorruptState(
        Reason.DATA_CORRUPT,
        f"an installed contract no longer compiles: {why}",
        remedy="run the software version the network runs; if it does, put blocks/, state/, guard and "
        "network of another stopped node in place of these, and leave consensus/ as it is",
    )
