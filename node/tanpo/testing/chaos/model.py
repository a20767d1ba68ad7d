"""What the state must be after each operation: the specification against which histories are checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import assert_never

from tanpo.ledger.values import Value
from tanpo.testing.chaos.operations import Action, Operation


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What an operation must answer: a value, or the code its contract fails with."""

    value: Value = ()
    code: str = ""


@dataclass(slots=True, kw_only=True)
class Model:
    """Registers, sets and accounts. `accounts` fixes the order in which balances are told."""

    accounts: dict[str, int] = field(default_factory=dict)
    registers: dict[str, int] = field(default_factory=dict)
    sets: dict[str, list[int]] = field(default_factory=dict)

    @classmethod
    def create(cls, accounts: Mapping[str, int]) -> Model:
        """Return the model of a bank before its first transfer, all registers 0 and all sets empty."""
        return cls(accounts=dict(accounts))

    def apply(self, operation: Operation) -> Answer:
        """Perform an operation and return what it must answer."""
        match operation.action:
            case Action.WRITE | Action.READ | Action.SWAP | Action.LOOK_REGISTER:
                key = operation.subject[0]
                answer, self.registers[key] = step_register(operation, self.registers.get(key, 0))
                return answer
            case Action.ADD:
                group = self.sets.setdefault(operation.subject[0], [])
                group.append(operation.arguments[0])
                return Answer(value=len(group) - 1)
            case Action.COLLECT | Action.LOOK_SET:
                return Answer(value=tuple(self.sets.get(operation.subject[0], ())))
            case Action.TRANSFER:
                return self._transfer(operation)
            case Action.AUDIT | Action.LOOK_ACCOUNTS:
                return Answer(value=tuple(self.accounts.values()))
            case _:
                assert_never(operation.action)

    def _transfer(self, operation: Operation) -> Answer:
        deliverer, receiver = operation.subject
        (quantity,) = operation.arguments
        if self.accounts[deliverer] < quantity:
            return Answer(code="INSUFFICIENT_BALANCE")
        self.accounts[deliverer] -= quantity
        self.accounts[receiver] += quantity
        return Answer()


def step_register(operation: Operation, content: int) -> tuple[Answer, int]:
    """Return what an operation on a register with this content must answer, and the content after it."""
    match operation.action:
        case Action.WRITE:
            return Answer(), operation.arguments[0]
        case Action.SWAP:
            expected, value = operation.arguments
            is_expected = content == expected
            return Answer(value=is_expected), value if is_expected else content
        case _:
            return Answer(value=content), content
