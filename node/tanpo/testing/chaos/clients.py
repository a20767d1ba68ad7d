"""Concurrent clients as a process of their own: `python -m tanpo.testing.chaos.clients --help`.

Each lane makes one operation after another through a node of its choice, notes when it began and what came
of it, and leaves what it cannot find out in time for later. On SIGTERM lanes stop, and what is unknown is
sent again, the same bytes, until it is known.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Final

from tanpo.cli.layout import NetworkFolder
from tanpo.client import (
    AsyncClient,
    Committed,
    OutcomeUnknown,
    Rejected,
    Unknown,
    load_profile,
)
from tanpo.ledger.errors import LedgerError, Unavailable
from tanpo.ledger.transaction import Envelope
from tanpo.testing.chaos.operations import (
    PROCESS_OPERATIONS_MAX,
    Action,
    HistoryWriter,
    Operation,
    State,
)
from tanpo.testing.chaos.workloads import Workload, build_call, build_query

ATTEMPT_S: Final = 4.0
"""How long one node gets to answer; less than some faults last, so that clients do meet the unknown."""
QUERY_S: Final = 1.5
VALID_FOR_S: Final = 90.0
RESEND_CHANCE: Final = 0.5
"""How often what is unknown is sent again at once, through another node, and not left for later."""
RESENDS_MAX: Final = 2
SETTLE_S: Final = 120.0
SETTLE_PAUSE_S: Final = 0.2
REST_S: Final = 0.2
"""After a failure: a node that is down refuses at once, and nobody is to spin."""


@dataclass(slots=True, kw_only=True)
class Clients:
    """One member's clients: one for each node, so that it is known who answered.

    `signers` are clients of all members that only sign: a transfer is of the member that owns the account.
    """

    workload: Workload
    writer: HistoryWriter
    member: str
    by_node: dict[str, AsyncClient]
    signers: dict[str, AsyncClient]
    first_number: int
    chance: Random
    unsettled: list[tuple[Operation, Envelope]] = field(default_factory=list)
    count: int = 0
    is_stopping: bool = False

    async def run_lane(self, pause_s: float) -> None:
        """Make one operation after another until told to stop."""
        while not self.is_stopping:
            node = self.chance.choice(sorted(self.by_node))
            action, subject, arguments = self.workload.choose()
            operation = self._begin(action, subject, arguments, node)
            if operation.is_query:
                is_answered = await self._query(operation)
            else:
                is_answered = await self._transact(operation)
            await asyncio.sleep(self.chance.uniform(0.0, 2 * pause_s) if is_answered else REST_S)

    async def settle(self) -> int:
        """Send what is unknown again until all is known, for a bounded time; return how much is not."""
        deadline = time.monotonic() + SETTLE_S
        while self.unsettled and time.monotonic() < deadline:
            waiting, self.unsettled = self.unsettled, []
            await asyncio.gather(*(self._settle_one(operation, envelope) for operation, envelope in waiting))
            if self.unsettled:
                # An expired request is known to be lost only by a later block: make one.
                action, subject, arguments = self.workload.make_scratch()
                operation = self._begin(action, subject, arguments, sorted(self.by_node)[0])
                await self._transact(operation)
                await asyncio.sleep(SETTLE_PAUSE_S)
        return len(self.unsettled)

    def _begin(
        self, action: Action, subject: tuple[str, ...], arguments: tuple[int, ...], node: str
    ) -> Operation:
        number = self.first_number + self.count
        self.count += 1
        operation = Operation(
            number=number,
            action=action,
            subject=subject,
            arguments=arguments,
            invoked_ns=time.monotonic_ns(),
            node=node,
        )
        if not operation.is_query:
            operation = replace(operation, request_id=f"bench-{number}")
        self.writer.invoke(operation)
        return operation

    async def _query(self, operation: Operation) -> bool:
        contract, view, arguments = build_query(operation, self.workload.book)
        try:
            async with asyncio.timeout(QUERY_S):
                answer = await self.by_node[operation.node].query(contract, view, **arguments)
        except (LedgerError, TimeoutError):
            self._end(operation, State.NEVER)
            return False
        self.writer.complete(
            replace(
                operation,
                state=State.OK,
                completed_ns=time.monotonic_ns(),
                value=answer.value,
                height=answer.height,
            )
        )
        return True

    async def _transact(self, operation: Operation) -> bool:
        """Send a transaction, again through other nodes while nobody knows; return whether it was settled."""
        envelope = self._sign(operation)
        is_doubtful = False
        code = ""
        for _ in range(RESENDS_MAX + 1):
            failure = await self._send(operation, envelope)
            if failure is None:
                return True
            code = str(failure.reason)
            is_doubtful = is_doubtful or isinstance(failure, OutcomeUnknown)
            if not isinstance(failure, Unavailable) or self.chance.random() >= RESEND_CHANCE:
                break
            operation = replace(operation, node=self.chance.choice(sorted(self.by_node)))
        if is_doubtful:
            self._end(operation, State.UNKNOWN)
            self.unsettled.append((operation, envelope))
        else:
            # The client says that no node took it in, or why none ever will: that is a promise to be checked.
            self._end(replace(operation, code=code), State.NEVER)
        return False

    async def _send(self, operation: Operation, envelope: Envelope) -> LedgerError | None:
        """Send an envelope through one node. Return why that settled nothing, None when it did."""
        try:
            (result,) = await self.by_node[operation.node].submit_envelope(envelope, deadline_s=ATTEMPT_S)
        except LedgerError as failure:
            return failure
        if isinstance(result, Rejected):
            return result.error
        self._end_committed(operation, result)
        return None

    async def _settle_one(self, operation: Operation, envelope: Envelope) -> None:
        operation = replace(operation, node=self.chance.choice(sorted(self.by_node)))
        if await self._send(operation, envelope) is None:
            return
        try:
            async with asyncio.timeout(QUERY_S):
                outcome = await self.by_node[operation.node].outcome(
                    operation.request_id, self._find_submitter(operation)
                )
        except (LedgerError, TimeoutError):
            outcome = None
        if isinstance(outcome, Committed):
            self._end_committed(operation, outcome)
        elif isinstance(outcome, Unknown) and outcome.has_expired(envelope.transactions[0].valid_until_ms):
            self._end(operation, State.NEVER)
        else:
            self.unsettled.append((operation, envelope))

    def _sign(self, operation: Operation) -> Envelope:
        client = self.signers[self._find_submitter(operation)]
        call = build_call(operation, self.workload.book)
        draft = client.build(call, request_id=operation.request_id, valid_for_s=VALID_FOR_S)
        return draft.seal(draft.sign(signer) for signer in client.config.signers)

    def _find_submitter(self, operation: Operation) -> str:
        if operation.action is Action.TRANSFER:
            return operation.subject[0].partition("/")[0]
        return self.member

    def _end(self, operation: Operation, state: State) -> None:
        ended_ns = None if state is State.UNKNOWN else time.monotonic_ns()
        self.writer.complete(replace(operation, state=state, completed_ns=ended_ns))

    def _end_committed(self, operation: Operation, result: Committed) -> None:
        receipt = result.receipt
        self.writer.complete(
            replace(
                operation,
                state=State.OK if receipt.succeeded else State.REFUSED,
                completed_ns=time.monotonic_ns(),
                value=receipt.value if receipt.succeeded else (),
                code=receipt.code,
                height=receipt.height,
                index=receipt.index,
            )
        )


async def run_clients(options: argparse.Namespace) -> int:
    """Run one process of clients; return how many operations it could not settle."""
    folder = NetworkFolder(root=options.folder)
    nodes = folder.load_manifest()
    member = nodes[options.process % len(nodes)].member
    chance = Random(f"{options.seed}:{options.process}")  # noqa: S311  # replayed, not secret
    config = load_profile(folder.get_member(member).profile)
    async with AsyncExitStack() as stack:
        by_node = {
            node.member: await stack.enter_async_context(
                AsyncClient(replace(config, addresses=(node.address,), deadline_s=ATTEMPT_S))
            )
            for node in nodes
        }
        signers = {
            node.member: await stack.enter_async_context(
                AsyncClient(load_profile(folder.get_member(node.member).profile))
            )
            for node in nodes
        }
        with options.history.open("w") as file:
            clients = Clients(
                workload=Workload.create(options.process, tuple(node.member for node in nodes), chance),
                writer=HistoryWriter(file),
                member=member,
                by_node=by_node,
                signers=signers,
                first_number=options.process * PROCESS_OPERATIONS_MAX,
                chance=chance,
            )
            await _run_lanes(clients, options.lanes, options.lanes / options.rate, options.seconds)
            return await clients.settle()


async def _run_lanes(clients: Clients, lanes: int, pause_s: float, seconds: float) -> None:
    loop = asyncio.get_running_loop()

    def stop() -> None:
        clients.is_stopping = True

    loop.add_signal_handler(signal.SIGTERM, stop)
    # Nobody is left to stop us if the bench was killed.
    timer = loop.call_later(seconds, stop)
    async with asyncio.TaskGroup() as group:
        for _ in range(lanes):
            group.create_task(clients.run_lane(pause_s))
    timer.cancel()


def main() -> int:
    """Run clients as the arguments say; exit with 1 when something stayed unknown."""
    parser = argparse.ArgumentParser(prog="python -m tanpo.testing.chaos.clients")
    parser.add_argument("--folder", type=Path, required=True, help="the folder of the network")
    parser.add_argument("--history", type=Path, required=True, help="the file to write")
    parser.add_argument("--process", type=int, required=True, help="the number of this process")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--lanes", type=int, default=4, help="operations under way at once")
    parser.add_argument("--rate", type=float, default=40.0, help="operations a second, at most")
    parser.add_argument("--seconds", type=float, default=3600.0, help="when to stop without SIGTERM")
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    return 1 if asyncio.run(run_clients(parser.parse_args())) else 0


if __name__ == "__main__":
    sys.exit(main())
