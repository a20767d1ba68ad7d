"""The driver of the asynchronous client: performs plans, event cursors and batches on grpc.aio (D11)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from typing import Any, NamedTuple, TypeVar

import grpc
from tanpo.api.v1 import admin_pb2, admin_pb2_grpc, ledger_pb2, ledger_pb2_grpc, network_pb2_grpc
from tanpo.client.backups import BackupCursor, BackupData, BackupOrigin
from tanpo.client.batch import MESSAGE_ENVELOPES_MAX, Batch
from tanpo.client.channel import compute_channel_options, load_credentials
from tanpo.client.context import Context, closed_client, closed_during_call
from tanpo.client.events import EventCursor, LedgerEvent
from tanpo.client.plan import Pause, Plan, Step
from tanpo.client.results import BatchResult
from tanpo.ledger.errors import LedgerError, PeerFault
from tanpo.ledger.transaction import Envelope

T = TypeVar("T")


class _Node(NamedTuple):
    channel: grpc.aio.Channel
    ledger: ledger_pb2_grpc.LedgerAsyncStub
    network: network_pb2_grpc.NetworkAsyncStub
    admin: admin_pb2_grpc.AdminAsyncStub


class AsyncLink:
    """The connections of one client, all on the event loop that made the first call."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self._nodes: dict[int, _Node] = {}
        self._is_closed = False

    async def run(self, plan: Plan[T]) -> T:
        """Perform a plan and return its result, or raise its error."""
        if self._is_closed:
            raise closed_client()
        try:
            step = next(plan)
            while True:
                try:
                    answer = await self._perform(step)
                except LedgerError as error:
                    step = plan.throw(error)
                else:
                    step = plan.send(answer)
        except StopIteration as done:
            result: T = done.value
            return result

    def get_node(self, position: int) -> _Node:
        """Return the connection to a node. Raises `UsageError` on a closed client."""
        if self._is_closed:
            raise closed_client()
        node = self._nodes.get(position)
        if node is None:
            config = self.context.config
            channel = grpc.aio.secure_channel(
                config.addresses[position],
                load_credentials(config.identity),
                options=compute_channel_options(config.identity),
            )
            # The asynchronous stubs exist for type checkers alone: at run time one class serves both.
            node = _Node(
                channel,
                ledger_pb2_grpc.LedgerStub(channel),
                network_pb2_grpc.NetworkStub(channel),
                admin_pb2_grpc.AdminStub(channel),
            )
            self._nodes[position] = node
        return node

    async def pause(self, pause: Pause) -> None:
        """Wait. Raises `UsageError` when the client was closed meanwhile."""
        await asyncio.sleep(pause.seconds)
        if self._is_closed:
            raise closed_client()

    def explain(self, failure: grpc.RpcError, position: int) -> LedgerError:
        """Return the error for a failed call."""
        return closed_during_call() if self._is_closed else self.context.explain(failure, position)

    def explain_cancellation(self, cancelled: asyncio.CancelledError) -> LedgerError:
        """Return the error for a call cut off by closing the client; raise `cancelled` if we were."""
        task = asyncio.current_task()
        if not self._is_closed or (task is not None and task.cancelling()):
            raise cancelled
        return closed_during_call()

    async def close(self) -> None:
        """Close all connections; calls in progress fail. Closing again does nothing."""
        self._is_closed = True
        nodes, self._nodes = self._nodes, {}
        for node in nodes.values():
            await node.channel.close(None)

    async def _perform(self, step: Step) -> Any:
        if isinstance(step, Pause):
            return await self.pause(step)
        method = getattr(getattr(self.get_node(step.node), step.rpc.service), step.rpc.method)
        try:
            return await method(step.request, timeout=step.timeout_s)
        except grpc.RpcError as failure:
            raise self.explain(failure, step.node) from failure
        except asyncio.CancelledError as cancelled:
            raise self.explain_cancellation(cancelled) from None


async def read_events(link: AsyncLink, cursor: EventCursor) -> AsyncIterator[LedgerEvent]:
    """Yield events for ever, connecting again from where the last one left off."""
    while True:
        position, request = cursor.open_stream()
        stream = link.get_node(position).ledger.StreamEvents(request)
        error: LedgerError | None = None
        try:
            async for batch in stream:
                for event in cursor.on_batch(batch):
                    yield event
        except grpc.RpcError as failure:
            error = link.explain(failure, position)
        except PeerFault as fault:
            error = fault
        except asyncio.CancelledError as cancelled:
            error = link.explain_cancellation(cancelled)
        finally:
            stream.cancel()
        await link.pause(cursor.after_failure(error))


async def read_backup(link: AsyncLink) -> AsyncIterator[BackupOrigin | BackupData]:
    """Yield the parts of a backup of the one node of the client."""
    cursor = BackupCursor(link.context)
    stream = link.get_node(0).admin.StreamBackup(admin_pb2.StreamBackupRequest())
    try:
        async for part in stream:
            yield cursor.on_part(part)
    except grpc.RpcError as failure:
        raise link.explain(failure, 0) from failure
    except asyncio.CancelledError as cancelled:
        raise link.explain_cancellation(cancelled) from None
    finally:
        stream.cancel()
    cursor.finish()


async def submit_batch(
    link: AsyncLink, batch: Batch, envelopes: Iterable[Envelope] | AsyncIterable[Envelope]
) -> AsyncIterator[BatchResult]:
    """Yield one result for each transaction, in the order of arrival."""
    feeder = _Feeder(batch, envelopes)
    stream: _BatchStream | None = None
    try:
        while not (feeder.is_done and batch.is_idle):
            if batch.is_idle:
                await feeder.wait_for_change(None)
                continue
            stream = stream or _BatchStream(link, batch.open_stream(), feeder.changed)
            answer = await stream.exchange(batch, feeder)
            if isinstance(answer, ledger_pb2.SubmitBatchResponse):
                for result in batch.on_response(answer):
                    yield result
            for result in batch.expire():
                yield result
            feeder.make_room()
            fault = batch.find_fault()
            if fault is not None or isinstance(answer, _End):
                await stream.close()
                stream = None
                try:
                    await link.pause(batch.on_stream_end(answer.error if isinstance(answer, _End) else fault))
                except LedgerError as last:
                    for result in batch.abandon(last):
                        yield result
                    raise
    finally:
        await feeder.close()
        if stream is not None:
            await stream.close()


class _End(NamedTuple):
    """A stream is over, with an error or because the node ended it."""

    error: LedgerError | None


class _Feeder:
    """Reads the source at its own pace into the batch, as far as there is room."""

    def __init__(self, batch: Batch, source: Iterable[Envelope] | AsyncIterable[Envelope]) -> None:
        self.changed = asyncio.Event()
        self._room = asyncio.Event()
        self._task = asyncio.create_task(self._feed(batch, source))

    @property
    def is_done(self) -> bool:
        """Whether the source is exhausted. Raises what the source raised."""
        if not self._task.done():
            return False
        self._task.result()
        return True

    def make_room(self) -> None:
        """Look again whether the batch has room."""
        self._room.set()

    async def wait_for_change(self, timeout_s: float | None) -> None:
        """Wait until an envelope or an answer arrived, or the source ended."""
        try:
            async with asyncio.timeout(timeout_s):
                await self.changed.wait()
        except TimeoutError:
            return
        self.changed.clear()

    async def close(self) -> None:
        """Stop reading."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _feed(self, batch: Batch, source: Iterable[Envelope] | AsyncIterable[Envelope]) -> None:
        try:
            async for envelope in _iterate(source):
                while not batch.has_room:
                    self._room.clear()
                    await self._room.wait()
                batch.add(envelope)
                self.changed.set()
        finally:
            self.changed.set()


class _BatchStream:
    """One stream of submissions; what arrives on it sets `changed`."""

    def __init__(self, link: AsyncLink, position: int, changed: asyncio.Event) -> None:
        self._link = link
        self._position = position
        self._changed = changed
        self._outbox: asyncio.Queue[ledger_pb2.SubmitBatchRequest] = asyncio.Queue()
        self._inbox: asyncio.Queue[ledger_pb2.SubmitBatchResponse | _End] = asyncio.Queue()
        self._call = link.get_node(position).ledger.SubmitBatch(self._send())
        self._task = asyncio.create_task(self._receive())

    async def exchange(self, batch: Batch, feeder: _Feeder) -> ledger_pb2.SubmitBatchResponse | _End | None:
        """Send all that is due and return the next answer, None when something else changed first."""
        while (message := batch.take_message()) is not None:
            self._outbox.put_nowait(message)
        if self._inbox.empty():
            await feeder.wait_for_change(batch.compute_wait())
        return None if self._inbox.empty() else self._inbox.get_nowait()

    async def close(self) -> None:
        """End the stream and its tasks."""
        self._call.cancel()
        await asyncio.wait([self._task])

    async def _send(self) -> AsyncIterator[ledger_pb2.SubmitBatchRequest]:
        while True:
            yield await self._outbox.get()

    async def _receive(self) -> None:
        error: LedgerError | None = None
        try:
            async for response in self._call:
                self._inbox.put_nowait(response)
                self._changed.set()
        except grpc.RpcError as failure:
            error = self._link.explain(failure, self._position)
        except asyncio.CancelledError:
            # The call was cancelled: by `close`, after which nobody listens, or with the whole client.
            error = closed_during_call()
        self._inbox.put_nowait(_End(error))
        self._changed.set()


async def _iterate(source: Iterable[Envelope] | AsyncIterable[Envelope]) -> AsyncIterator[Envelope]:
    if isinstance(source, AsyncIterable):
        async for envelope in source:
            yield envelope
        return
    for count, envelope in enumerate(source, 1):
        yield envelope
        if count % MESSAGE_ENVELOPES_MAX == 0:
            # A plain iterable never lets go of the loop by itself.
            await asyncio.sleep(0)
