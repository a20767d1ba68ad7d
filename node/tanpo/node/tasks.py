"""Calls of contracts as blocks hold them, and how one is run: the same in a node and in a worker."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

from tanpo.ledger.errors import invariant
from tanpo.ledger.receipt import Receipt, encode_receipt
from tanpo.ledger.transaction import Call, Transaction, encode_call
from tanpo.ledger.types import Height, TxId
from tanpo.vm import GAS_LIMIT_MAX, CallContext, Outcome, Session


class TaskKind(IntEnum):
    """What a task enters a contract by; the number is what a worker is sent."""

    ENTRY = 0
    VIEW = 1
    INIT = 2
    MIGRATE = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One call with what a contract sees of it; `encoded_call` spells `call`, and is empty in a worker."""

    kind: TaskKind
    call: Call
    encoded_call: bytes
    sender: str
    signers: tuple[str, ...]
    tx_id: TxId
    gas_limit: int

    @classmethod
    def of_transaction(cls, transaction: Transaction, signers: tuple[str, ...]) -> Task:
        """Return the task of a transaction that these members signed."""
        return cls(
            kind=TaskKind.ENTRY,
            call=transaction.call,
            encoded_call=transaction.encoded_call,
            sender=transaction.member,
            signers=signers,
            tx_id=transaction.tx_id,
            gas_limit=transaction.gas_limit,
        )

    @classmethod
    def of_node(cls, kind: TaskKind, call: Call) -> Task:
        """Return a call by the node itself."""
        # No member is called "", so no transaction can pass for a node.
        return cls(
            kind=kind,
            call=call,
            encoded_call=encode_call(call),
            sender="",
            signers=(),
            tx_id=TxId(bytes(32)),
            gas_limit=GAS_LIMIT_MAX,
        )


class Place(Protocol):
    """The part of a scene that contracts see."""

    @property
    def height(self) -> Height:
        """The height of the block."""

    @property
    def time_ms(self) -> int:
        """The time of the block."""


def run_task(session: Session, task: Task, place: Place, index: int) -> bytes:
    """Run one task and return its receipt, encoded."""
    context = CallContext(
        sender=task.sender,
        signers=task.signers,
        time_ms=place.time_ms,
        height=place.height,
        tx_id=task.tx_id,
    )
    call = task.call
    match task.kind:
        case TaskKind.ENTRY:
            outcome = session.run(call, context, task.gas_limit)
        case TaskKind.VIEW:
            outcome = session.view(call, context, task.gas_limit)
        case TaskKind.INIT:
            outcome = session.initialise(call.contract, call.arguments, context, task.gas_limit)
        case TaskKind.MIGRATE:
            invariant(call.arguments == (), "a migration takes no arguments")
            outcome = session.migrate(call.contract, context, task.gas_limit)
    return encode_receipt(make_receipt(outcome, task.tx_id, place.height, index))


def make_receipt(outcome: Outcome, tx_id: TxId, height: Height, index: int) -> Receipt:
    """Return the receipt of a transaction's outcome."""
    return Receipt(
        tx_id=tx_id,
        height=height,
        index=index,
        succeeded=outcome.ok,
        code=outcome.code,
        details=outcome.details,
        contract=outcome.contract,
        line=outcome.line,
        gas_used=outcome.gas_used,
        value=outcome.value if outcome.value is not None else (),
        events=outcome.events,
    )
