"""Who is meant: a replica numbers the validators of its epoch, and after them its guests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tanpo.ledger.types import ValidatorIndex

if TYPE_CHECKING:
    from tanpo.simulator.process import Process


def number_of(process: Process, other: Process) -> ValidatorIndex:
    """Return the index of a node in our epoch, or a guest's number."""
    index = process.reign.find_index(other.node)
    return ValidatorIndex(process.reign.validator_count + other.number) if index is None else index


def resolve(process: Process, index: ValidatorIndex) -> tuple[Process, ...]:
    """Return who an index of our epoch or a guest's number stands for: twins are two."""
    reign = process.reign
    if index < reign.validator_count:
        return process.cluster.processes_of(reign.nodes[index])
    return (process.cluster.processes[index - reign.validator_count],)


def list_others(process: Process) -> tuple[ValidatorIndex, ...]:
    """Return all validators of our epoch but ourselves."""
    own = process.index
    return tuple(ValidatorIndex(i) for i in range(process.reign.validator_count) if i != own)
