"""The driver of the synchronous client: performs plans, event cursors and batches on synchronous gRPC."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from queue import Empty, SimpleQueue
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
    channel: grpc.Channel
    ledger: ledger_pb2_grpc.LedgerStub
    network: network_pb2_grpc.NetworkStub
    admin: admin_pb2_grpc.AdminStub


class BlockingLink:
    """The connections of one client; each is made when first used."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self._nodes: dict[int, _Node] = {}
        self._lock = threading.Lock()
        self._closing = threading.Event()

    def run(self, plan: Plan[T]) -> T:
        """Perform a plan and return its result, or raise its error."""
        if self._closing.is_set():
            raise closed_client()
        try:
            step = next(plan)
            while True:
                try:
                    answer = self._perform(step)
                except LedgerError as error:
                    step = plan.throw(error)
                else:
                    step = plan.send(answer)
        except StopIteration as done:
            result: T = done.value
            return result

    def get_node(self, position: int) -> _Node:
        """Return the connection to a node. Raises `UsageError` on a closed client."""
        with self._lock:
            if self._closing.is_set():
                raise closed_client()
            node = self._nodes.get(position)
            if node is None:
                config = self.context.config
                channel = grpc.secure_channel(
                    config.addresses[position],
                    load_credentials(config.identity),
                    options=compute_channel_options(config.identity),
                )
                node = _Node(
                    channel,
                    ledger_pb2_grpc.LedgerStub(channel),
                    network_pb2_grpc.NetworkStub(channel),
                    admin_pb2_grpc.AdminStub(channel),
                )
                self._nodes[position] = node
            return node

    def pause(self, pause: Pause) -> None:
        """Wait. Raises `UsageError` as soon as the client is closed."""
        if self._closing.wait(pause.seconds):
            raise closed_client()

    def explain(self, failure: grpc.RpcError, position: int) -> LedgerError:
        """Return the error for a failed call."""
        return closed_during_call() if self._closing.is_set() else self.context.explain(failure, position)

    def close(self) -> None:
        """Close all connections; calls in progress fail. Closing again does nothing."""
        with self._lock:
            self._closing.set()
            nodes, self._nodes = self._nodes, {}
        for node in nodes.values():
            node.channel.close()

    def _perform(self, step: Step) -> Any:
        if isinstance(step, Pause):
            return self.pause(step)
        node = self.get_node(step.node)
        method = getattr(getattr(node, step.rpc.service), step.rpc.method)
        try:
            return method(step.request, timeout=step.timeout_s)
        except grpc.RpcError as failure:
            raise self.explain(failure, step.node) from failure
        except ValueError:
            # Another thread closed the channel after we had fetched it; nothing was sent.
            raise closed_client() from None


def read_events(link: BlockingLink, cursor: EventCursor) -> Iterator[LedgerEvent]:
    """Yield events for ever, connecting again from where the last one left off."""
    while True:
        position, request = cursor.open_stream()
        stream = link.get_node(position).ledger.StreamEvents(request)
        error: LedgerError | None = None
        try:
            for batch in stream:
                yield from cursor.on_batch(batch)
        except grpc.RpcError as failure:
            error = link.explain(failure, position)
        except PeerFault as fault:
            error = fault
        finally:
            stream.cancel()  # type: ignore[no-untyped-call]  # grpc's own annotations leave it out
        link.pause(cursor.after_failure(error))


def read_backup(link: BlockingLink) -> Iterator[BackupOrigin | BackupData]:
    """Yield the parts of a backup of the one node of the client."""
    cursor = BackupCursor(link.context)
    stream = link.get_node(0).admin.StreamBackup(admin_pb2.StreamBackupRequest())
    try:
        for part in stream:
            yield cursor.on_part(part)
    except grpc.RpcError as failure:
        raise link.explain(failure, 0) from failure
    finally:
        stream.cancel()  # type: ignore[no-untyped-call]  # grpc's own annotations leave it out
    cursor.finish()


def submit_batch(link: BlockingLink, batch: Batch, envelopes: Iterable[Envelope]) -> Iterator[BatchResult]:
    """Yield one result for each transaction, in the order of arrival."""
    source = iter(envelopes)
    is_exhausted = False
    stream: _BatchStream | None = None
    try:
        while not (is_exhausted and batch.is_idle):
            is_exhausted = is_exhausted or not _fill(batch, source)
            if batch.is_idle:
                continue
            stream = stream or _BatchStream(link, batch.open_stream())
            answer = stream.exchange(batch, is_waiting=is_exhausted or not batch.has_room)
            if isinstance(answer, ledger_pb2.SubmitBatchResponse):
                yield from batch.on_response(answer)
            yield from batch.expire()
            fault = batch.find_fault()
            if fault is not None or isinstance(answer, _End):
                stream.close()
                stream = None
                try:
                    link.pause(batch.on_stream_end(answer.error if isinstance(answer, _End) else fault))
                except LedgerError as last:
                    yield from batch.abandon(last)
                    raise
    finally:
        if stream is not None:
            stream.close()


class _End(NamedTuple):
    """A stream is over, with an error or because the node ended it."""

    error: LedgerError | None


class _BatchStream:
    """One stream of submissions. gRPC hands out answers by blocking, so a thread fetches them."""

    def __init__(self, link: BlockingLink, position: int) -> None:
        self._link = link
        self._position = position
        self._outbox: SimpleQueue[ledger_pb2.SubmitBatchRequest | None] = SimpleQueue()
        self._inbox: SimpleQueue[ledger_pb2.SubmitBatchResponse | _End] = SimpleQueue()
        self._call = link.get_node(position).ledger.SubmitBatch(iter(self._outbox.get, None))
        threading.Thread(target=self._receive, name="tanpo-batch", daemon=True).start()

    def exchange(self, batch: Batch, *, is_waiting: bool) -> ledger_pb2.SubmitBatchResponse | _End | None:
        """Send all that is due and return the next answer, None when there is none yet."""
        while (message := batch.take_message()) is not None:
            self._outbox.put(message)
        try:
            if is_waiting:
                return self._inbox.get(timeout=batch.compute_wait())
            return self._inbox.get_nowait()
        except Empty:
            return None

    def close(self) -> None:
        """End the stream and its threads."""
        self._outbox.put(None)
        self._call.cancel()  # type: ignore[no-untyped-call]  # grpc's own annotations leave it out

    def _receive(self) -> None:
        error: LedgerError | None = None
        try:
            for response in self._call:
                self._inbox.put(response)
        except grpc.RpcError as failure:
            error = self._link.explain(failure, self._position)
        self._inbox.put(_End(error))


def _fill(batch: Batch, source: Iterator[Envelope]) -> bool:
    """Add what fits one message. Return whether the source may hold more."""
    for _ in range(MESSAGE_ENVELOPES_MAX):
        if not batch.has_room:
            return True
        envelope = next(source, None)
        if envelope is None:
            return False
        batch.add(envelope)
    return True
