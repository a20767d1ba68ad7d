"""The worker's loop: it opens blocks, runs their tasks, and asks its node for what it does not know."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from tanpo.ledger.errors import invariant
from tanpo.ledger.types import BlockHash, Height
from tanpo.node.contract_sets import ContractSet, ContractSource, Programs, Sessions
from tanpo.node.tasks import Task, run_task
from tanpo.node.worker import wire
from tanpo.node.worker.chain import ChainState
from tanpo.node.worker.forecast import Forecast
from tanpo.node.worker.wire import Kind, Opening, Range
from tanpo.vm import Session

SLICE_TASKS: Final = 64
"""Receipts sent at once: enough to cost little, few enough that a node hears of a worker that lives."""

SLICE_BYTES: Final = 256 * 1024
READ_BYTES: Final = 1 << 16
"""Room made for what comes; more would be asked of the system, and given back, for each short frame."""


class PipeClosed(Exception):
    """The node has gone, or wants no more."""


class Pipe:
    """Frames over one open file, by blocking."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._data = bytearray()

    def send(self, kind: Kind, body: bytes) -> None:
        """Send a whole frame."""
        view = memoryview(wire.encode_frame(kind, body))
        while view:
            view = view[os.write(self._fd, view) :]

    def receive(self) -> tuple[Kind, bytes]:
        """Wait for a whole frame. Raises `PipeClosed` when there will be none."""
        self._gather(wire.HEADER_BYTES)
        kind, size = wire.decode_header(self._data)
        end = wire.HEADER_BYTES + size
        self._gather(end)
        with memoryview(self._data) as data:
            body = bytes(data[wire.HEADER_BYTES : end])
        del self._data[:end]
        return kind, body

    def _gather(self, size: int) -> None:
        while len(self._data) < size:
            got = os.read(self._fd, READ_BYTES)
            if not got:
                raise PipeClosed
            self._data += got


class NodeState:
    """The state behind a block's parent: what is known here, and for the rest the node."""

    def __init__(self, pipe: Pipe) -> None:
        self.chain = ChainState()
        self.forecast = Forecast()
        self.position = 0
        self._pipe = pipe

    def get(self, key: bytes) -> bytes | None:
        """Return the value of a key, if it has one."""
        is_known, value = self.chain.find(key)
        if is_known:
            return value
        self._fetch([key, *self._choose(self.forecast.note_miss(self.position, key))])
        return self.chain.find(key)[1]

    def scan(self, start: bytes, stop: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        """Return the first entries of an index in a range; they have no values."""
        body = self._ask(Kind.LIST, wire.encode_range(Range(start=start, stop=stop, limit=limit)), Kind.PAGE)
        return [(key, b"") for key in wire.decode_page(body)]

    def prepare(self, tasks: Sequence[Task]) -> None:
        """Ask at once for what tasks will probably read; `position` is that of the one that runs."""
        self.position = 0
        self._fetch(self._choose(self.forecast.begin(tasks)))

    def _choose(self, expected: Iterable[bytes]) -> list[bytes]:
        """Return those of the expected keys that are not known and may be asked for."""
        return self.forecast.take(key for key in expected if not self.chain.find(key)[0])

    def _fetch(self, keys: Sequence[bytes]) -> None:
        for start in range(0, len(keys), wire.READS_MAX):
            asked = keys[start : start + wire.READS_MAX]
            body = self._ask(Kind.READ, wire.encode_reads(asked), Kind.ANSWER)
            # The node answers the first at least, and as many as a frame allows: the rest can wait.
            for key, value in zip(asked, wire.decode_answer(body), strict=False):
                self.chain.fill(key, value)

    def _ask(self, kind: Kind, body: bytes, answer: Kind) -> bytes:
        self._pipe.send(kind, body)
        kind, body = self._pipe.receive()
        invariant(kind is answer, f"a question was answered by {kind.name} instead of {answer.name}")
        return body


@dataclass(frozen=True, slots=True, kw_only=True)
class _Block:
    """The block that is open, and the session its tasks run in."""

    block_hash: BlockHash
    parent_hash: BlockHash
    height: Height
    time_ms: int
    session: Session


class Server:
    """Does what the node asks, until it asks no more."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe
        self._state = NodeState(pipe)
        self._sources: dict[tuple[str, bytes, int], ContractSource] = {}
        self._sessions = Sessions(Programs())
        self._block: _Block | None = None

    def serve(self) -> None:
        """Serve until the pipe is closed. Whatever is raised is a fault of this node, never an outcome."""
        while True:
            try:
                kind, body = self._pipe.receive()
            except PipeClosed:
                return
            match kind:
                case Kind.OPEN:
                    self._open(wire.decode_opening(body))
                case Kind.RUN:
                    self._run(wire.decode_tasks(body))
                case Kind.RUN_LAST:
                    self._run(wire.decode_tasks(body))
                    self._collect()
                case Kind.COLLECT:
                    self._collect()
                case _:
                    invariant(False, f"a worker is not sent {kind.name}")

    def _open(self, opening: Opening) -> None:
        contracts = ContractSet.create(self._find_source(contract) for contract in opening.contracts)
        self._state.chain.begin(parent_hash=opening.parent_hash, committed_hash=opening.committed_hash)
        session = self._sessions.begin(contracts, self._state)
        self._block = _Block(
            block_hash=opening.block_hash,
            parent_hash=opening.parent_hash,
            height=opening.height,
            time_ms=opening.time_ms,
            session=session,
        )

    def _find_source(self, contract: ContractSource) -> ContractSource:
        if contract.source:
            digest = sha256(contract.source.encode("utf-8")).digest()
            invariant(digest == contract.source_hash, f"contract {contract.name} has another source hash")
            self._sources[contract.key] = contract
        return self._sources[contract.key]

    def _run(self, tasks: list[Task]) -> None:
        block, state, started = self._get_block(), self._state, time.thread_time()
        state.chain.forget(block.block_hash)
        state.prepare(tasks)
        receipts: list[bytes] = []
        size = 0
        for index, task in enumerate(tasks):
            state.position = index
            receipt = run_task(block.session, task, block, index)
            receipts.append(receipt)
            size += len(receipt)
            if len(receipts) >= SLICE_TASKS or size > SLICE_BYTES:
                self._pipe.send(Kind.RECEIPTS, wire.encode_receipts(receipts, is_last=False, cpu_us=0))
                receipts, size = [], 0
        cpu_us = int((time.thread_time() - started) * 1e6)
        self._pipe.send(Kind.RECEIPTS, wire.encode_receipts(receipts, is_last=True, cpu_us=cpu_us))

    def _collect(self) -> None:
        block = self._get_block()
        changes = block.session.collect_changes()
        self._state.chain.end(block.block_hash, block.parent_hash, changes)
        self._send_changes(changes)

    def _send_changes(self, changes: Mapping[bytes, bytes | None]) -> None:
        pairs: list[tuple[bytes, bytes | None]] = []
        size = 0
        for key, value in changes.items():
            pairs.append((key, value))
            size += len(key) + len(value or b"")
            if size > wire.CHUNK_BYTES:
                self._pipe.send(Kind.CHANGES, wire.encode_changes(pairs, is_last=False))
                pairs, size = [], 0
        self._pipe.send(Kind.CHANGES, wire.encode_changes(pairs, is_last=True))

    def _get_block(self) -> _Block:
        invariant(self._block is not None, "no block is open")
        return self._block  # type: ignore[return-value]  # the line above has made sure
