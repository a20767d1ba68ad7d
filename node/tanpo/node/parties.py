"""Whom a transaction concerns: who sent and signed it, and the members that it or its events name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tanpo.ledger.receipt import Receipt
from tanpo.ledger.transaction import Transaction
from tanpo.ledger.types import MemberId
from tanpo.ledger.values import Value


def find_parties(
    transaction: Transaction, signing: Iterable[MemberId], receipt: Receipt, members: frozenset[str]
) -> tuple[str, ...]:
    """Return the members that a transaction concerns, in ascending order.

    A text names a member if it is the member's id, or an account of it: the id, a slash and more.
    """
    found: set[str] = {transaction.member, *signing}
    for _, value in transaction.call.arguments:
        found.update(_find_named(value, members))
    for event in receipt.events:
        for _, value in event.fields:
            found.update(_find_named(value, members))
    return tuple(sorted(found))


def _find_named(value: Value, members: frozenset[str]) -> set[str]:
    pending: list[Value] = [value]
    found: set[str] = set()
    while pending:
        part = pending.pop()
        if isinstance(part, str):
            name = part.partition("/")[0]
            if name in members:
                found.add(name)
        elif isinstance(part, tuple):
            pending.extend(part)
        elif isinstance(part, Mapping):
            pending.extend(part.values())
    return found
