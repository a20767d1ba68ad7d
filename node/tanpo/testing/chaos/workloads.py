"""What clients do: which operation next, and as which call of which contract.

Registers and sets are short-lived, so that the search for an order stays small; the bank's accounts last.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Final, assert_never

from tanpo.ledger.transaction import Call
from tanpo.ledger.values import Value
from tanpo.testing.chaos.contract import BENCH_CONTRACT
from tanpo.testing.chaos.operations import Action, Operation

INSTRUMENT: Final = "bench-units"
ACCOUNTS_A_MEMBER: Final = 2
OPENING_UNITS: Final = 100
"""What each account has at first: little, so that transfers are refused for lack of balance now and then."""
TRANSFER_MAX: Final = 40
REGISTERS: Final = 3
"""Registers in use at a time."""
SET_ELEMENTS_MAX: Final = 40
KEY_OPERATIONS: Final = 60
"""Operations of one process on a key before it takes the next one."""
SCRATCH: Final = "scratch"

WEIGHTS: Final = {
    Action.WRITE: 12,
    Action.READ: 10,
    Action.SWAP: 12,
    Action.LOOK_REGISTER: 8,
    Action.TRANSFER: 24,
    Action.AUDIT: 5,
    Action.LOOK_ACCOUNTS: 6,
    Action.ADD: 14,
    Action.COLLECT: 5,
    Action.LOOK_SET: 4,
}

Step = tuple[Action, tuple[str, ...], tuple[int, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Book:
    """The accounts of the bank in the order in which their balances are told."""

    accounts: tuple[str, ...]

    @classmethod
    def create(cls, members: tuple[str, ...]) -> Book:
        """Return the accounts that the members of a network have."""
        return cls(
            accounts=tuple(
                f"{member}/bench-{number}" for member in members for number in range(ACCOUNTS_A_MEMBER)
            )
        )

    @property
    def opening(self) -> dict[str, int]:
        """The balances before the first transfer."""
        return dict.fromkeys(self.accounts, OPENING_UNITS)


@dataclass(slots=True, kw_only=True)
class Workload:
    """The operations of one process, on accounts, registers and sets that all processes share."""

    book: Book
    process: int
    chance: Random
    count: int = 0

    @classmethod
    def create(cls, process: int, members: tuple[str, ...], chance: Random) -> Workload:
        """Return the workload of the process with this number."""
        return cls(book=Book.create(members), process=process, chance=chance)

    def choose(self) -> Step:
        """Return the next operation."""
        self.count += 1
        action = self.chance.choices(tuple(WEIGHTS), tuple(WEIGHTS.values()))[0]
        match action:
            case Action.TRANSFER:
                deliverer, receiver = self.chance.sample(self.book.accounts, 2)
                return action, (deliverer, receiver), (self.chance.randint(1, TRANSFER_MAX),)
            case Action.AUDIT | Action.LOOK_ACCOUNTS:
                return action, (), ()
            case Action.ADD:
                return action, (self._choose_set(),), (self._make_value(),)
            case Action.COLLECT | Action.LOOK_SET:
                return action, (self._choose_set(),), ()
            case Action.WRITE:
                return action, (self._choose_register(),), (self._make_value(),)
            case Action.READ | Action.LOOK_REGISTER:
                return action, (self._choose_register(),), ()
            case Action.SWAP:
                # A guess among the latest values of all processes: right often enough to matter.
                expected = self.chance.randint(max(0, self.count - 6), self.count) * 10 + self.chance.randint(
                    0, 3
                )
                return action, (self._choose_register(),), (expected, self._make_value())
            case _:
                assert_never(action)

    def make_scratch(self) -> Step:
        """Return an operation that is only to bring a block about."""
        self.count += 1
        return Action.WRITE, (SCRATCH,), (self._make_value(),)

    def _choose_register(self) -> str:
        generation = self.count // (KEY_OPERATIONS * REGISTERS)
        return f"r{generation}-{self.chance.randrange(REGISTERS)}"

    def _choose_set(self) -> str:
        return f"s{self.count // (SET_ELEMENTS_MAX * 3)}"

    def _make_value(self) -> int:
        """Return a value that no other operation of any process writes: answers then name their writer."""
        return self.count * 10 + self.process


def build_call(operation: Operation, book: Book) -> Call:
    """Return the call that performs an operation."""
    match operation.action:
        case Action.TRANSFER:
            deliverer, receiver = operation.subject
            return Call.create(
                "instruments",
                "transfer",
                {
                    "deliverer": deliverer,
                    "receiver": receiver,
                    "instrument": INSTRUMENT,
                    "quantity": operation.arguments[0],
                },
            )
        case _:
            return Call.create(BENCH_CONTRACT, operation.action.value, _name_arguments(operation, book))


def build_query(operation: Operation, book: Book) -> tuple[str, str, Mapping[str, Value]]:
    """Return the contract, view and arguments that answer a query."""
    return BENCH_CONTRACT, operation.action.value, _name_arguments(operation, book)


def _name_arguments(operation: Operation, book: Book) -> dict[str, Value]:
    match operation.action:
        case Action.WRITE:
            return {"key": operation.subject[0], "value": operation.arguments[0]}
        case Action.SWAP:
            expected, value = operation.arguments
            return {"key": operation.subject[0], "expected": expected, "value": value}
        case Action.READ | Action.LOOK_REGISTER:
            return {"key": operation.subject[0]}
        case Action.ADD:
            return {"group": operation.subject[0], "element": operation.arguments[0]}
        case Action.COLLECT | Action.LOOK_SET:
            return {"group": operation.subject[0]}
        case _:
            return {"instrument": INSTRUMENT, "accounts": book.accounts}
