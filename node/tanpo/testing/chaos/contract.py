"""The contract of the bench: registers, sets in order of entry, and a reading of many balances at once.

Balances and transfers are those of the product's register of instruments; what this adds is a look at all of
them in one state, which a bank's total needs.
"""

from __future__ import annotations

from typing import Final

BENCH_CONTRACT: Final = "bench"

BENCH_SOURCE: Final = '''
"""Registers, sets that remember in which order elements came, and many balances at one time."""

instruments: Contract["instruments"]

registers: Map[str, int]
sizes: Map[str, int]
elements: Map[tuple[str, int], int]


@entry
def write(key: str, value: int) -> None:
    registers[key] = value


@entry
def read(key: str) -> int:
    return registers.get(key, 0)


@entry
def swap(key: str, expected: int, value: int) -> bool:
    """Write the value if the register holds the expected one; tell whether it did."""
    is_expected = registers.get(key, 0) == expected
    if is_expected:
        registers[key] = value
    return is_expected


@entry
def add(group: str, element: int) -> int:
    """Append an element, even one that is there: what comes twice must show. Return its position."""
    size = sizes.get(group, 0)
    elements[(group, size)] = element
    sizes[group] = size + 1
    return size


@entry
def collect(group: str) -> list[int]:
    return listing(group)


@entry
def audit(instrument: str, accounts: list[str]) -> list[int]:
    return balances(instrument, accounts)


@view
def look_register(key: str) -> int:
    return registers.get(key, 0)


@view
def look_set(group: str) -> list[int]:
    return listing(group)


@view
def look_accounts(instrument: str, accounts: list[str]) -> list[int]:
    return balances(instrument, accounts)


def listing(group: str) -> list[int]:
    found: list[int] = []
    for at in range(sizes.get(group, 0)):
        found.append(elements[(group, at)])
    return found


def balances(instrument: str, accounts: list[str]) -> list[int]:
    found: list[int] = []
    for account in accounts:
        found.append(instruments.free(account, instrument))
    return found
'''
