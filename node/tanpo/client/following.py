"""Calls whose answers are proofs: the validators of later epochs are proved first, by the same node."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

from tanpo.api.v1 import ledger_pb2 as ledger
from tanpo.client.context import Context
from tanpo.client.plan import Attempts, Plan, Rpc
from tanpo.ledger.errors import LedgerError, PeerFault, Reason
from tanpo.ledger.lineage import Lineage

LINEAGE: Final[Rpc[ledger.GetLineageRequest, ledger.GetLineageResponse]] = Rpc("ledger", "GetLineage")

Q = TypeVar("Q")
A = TypeVar("A")
T = TypeVar("T")


def call_verified(
    context: Context,
    rpc: Rpc[Q, A],
    request: Q,
    find_epoch: Callable[[A], int],
    read: Callable[[A, Lineage], T],
) -> Plan[T]:
    """Make a call whose answer proves itself, on any node that answers, until its deadline.

    `find_epoch` says, by the node's word, up to which epoch validators must be known to check the answer.

    Raises:
        LedgerError: the last failure. An answer that proves nothing counts as one, and another node is asked.
    """
    attempts = Attempts(context.route, context.config.deadline_s)
    while True:
        try:
            answer: A = yield attempts.next_attempt(rpc, request)
            lineage = yield from _follow(context, attempts, find_epoch(answer))
            return read(answer, lineage)
        except LedgerError as error:
            pause = attempts.after_failure(error)
        yield pause


def follow_all(context: Context) -> Plan[Lineage]:
    """Follow the validators as far as a node can prove them."""
    attempts = Attempts(context.route, context.config.deadline_s)
    while True:
        try:
            request = ledger.GetLineageRequest(from_epoch=context.trust.next_epoch)
            answer: ledger.GetLineageResponse = yield attempts.next_attempt(LINEAGE, request)
            known = context.trust.known
            if known is not None and not answer.steps:
                return known
            context.trust.learn(answer)
            attempts.restart()
            continue
        except LedgerError as error:
            pause = attempts.after_failure(error)
        yield pause


def _follow(context: Context, attempts: Attempts, epoch: int) -> Plan[Lineage]:
    """Return a lineage that covers an epoch."""
    trust = context.trust
    while True:
        known = trust.known
        if known is not None and trust.covers(epoch):
            return known
        before = trust.next_epoch
        request = ledger.GetLineageRequest(from_epoch=before)
        answer: ledger.GetLineageResponse = yield attempts.next_attempt(LINEAGE, request)
        trust.learn(answer)
        if known is not None and trust.next_epoch == before:
            raise PeerFault(
                Reason.EPOCH_UNKNOWN,
                "the node shows something of an epoch whose validators it does not prove",
                value=epoch,
                limit=f"epoch {before}",
                remedy="ask another node",
            )
