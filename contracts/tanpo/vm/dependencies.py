"""In which order contracts can be compiled and put in force: each after those that it has handles of."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from tanpo.vm.compiler import CompiledContract, compile_contract
from tanpo.vm.faults import ContractRefused, Fault


def sort_by_handles(handles: Mapping[str, Collection[str]]) -> tuple[list[str], list[str]]:
    """Return the contracts in an order in which each has handles only of those before it, by name where that
    leaves a choice, and those that are in no such order because they need each other.

    Handles of contracts that are not among them count for nothing.
    """
    order: list[str] = []
    waiting = sorted(handles)
    while waiting:
        ready = [name for name in waiting if not any(one in waiting for one in handles[name])]
        if not ready:
            break
        order += ready
        done = frozenset(ready)
        waiting = [name for name in waiting if name not in done]
    return order, waiting


def find_ways_back(
    contract: str, handles: Iterable[str], others: Mapping[str, Collection[str]]
) -> tuple[str, ...]:
    """Return which of these handles lead back to `contract`, directly or through the handles of `others`."""
    return tuple(one for one in handles if _reaches(one, contract, others))


def compile_in_order(
    sources: Mapping[str, str],
) -> tuple[dict[str, CompiledContract], dict[str, tuple[Fault, ...]]]:
    """Compile contracts in the order that their handles ask for, as far as it goes; the rest has faults."""
    compiled: dict[str, CompiledContract] = {}
    faults: dict[str, tuple[Fault, ...]] = {}
    pending = list(sources)
    while pending:
        waiting: list[str] = []
        before = len(compiled)
        for name in pending:
            interfaces = {known: one.interface for known, one in compiled.items()}
            try:
                compiled[name] = compile_contract(sources[name], name=name, interfaces=interfaces)
                faults.pop(name, None)
            except ContractRefused as refused:
                faults[name] = refused.faults
                if any(fault.code == "HANDLE" for fault in refused.faults):
                    # Of one that is still to come, perhaps.
                    waiting.append(name)
        if len(compiled) == before:
            break
        pending = waiting
    return compiled, faults


def _reaches(start: str, contract: str, handles: Mapping[str, Collection[str]]) -> bool:
    seen, waiting = {start}, [start]
    while waiting:
        for one in handles.get(waiting.pop(), ()):
            if one not in seen:
                seen.add(one)
                waiting.append(one)
    return start != contract and contract in seen
