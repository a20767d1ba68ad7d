"""The events of committed blocks, in order, from any position on."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from typing import Final

from tanpo.ledger.block import decode_block
from tanpo.ledger.codec import Writer
from tanpo.ledger.receipt import decode_receipt
from tanpo.ledger.types import Height
from tanpo.ledger.values import write_fields
from tanpo.storage import LedgerStore

CACHED_BLOCKS_MAX: Final = 64
"""Blocks whose decoded events are kept, so that many readers at the tip decode each block once."""

CHECKPOINT_EVERY: Final = 100
"""A reader with a filter hears of its position at least once in so many blocks."""

READ_BYTES_MAX: Final = 1024 * 1024
"""A read ends here unless one event is longer: the events of a block may exceed a client's message."""

EVENT_OVERHEAD_BYTES: Final = 256
"""What an event costs in a message besides its fields."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventItem:
    """One event; `index` counts all events of its block from 0, `fields` are encoded."""

    index: int
    tx_id: bytes
    contract: str
    name: str
    fields: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRead:
    """Events of one block, all or the next of them, and the position to resume from after them."""

    height: int
    block_hash: bytes
    time_ms: int
    events: tuple[EventItem, ...]
    next_height: int
    next_index: int


class EventHub:
    """Streams events from the store: a slow reader costs disk reads, never memory."""

    def __init__(self, store: LedgerStore) -> None:
        self._store = store
        self._grown = asyncio.Event()
        self._cache: OrderedDict[int, EventRead] = OrderedDict()
        self._is_closed = False

    def announce(self) -> None:
        """Wake the readers: a block was committed."""
        self._grown.set()
        self._grown = asyncio.Event()

    def close(self) -> None:
        """End all streams."""
        self._is_closed = True
        self.announce()

    async def stream(
        self, *, from_height: int, from_index: int, contracts: frozenset[str]
    ) -> AsyncIterator[EventRead]:
        """Yield events at or after a position, block by block, and go on as blocks commit."""
        height, index = max(from_height, 1), from_index if from_height else 0
        quiet = 0
        while not self._is_closed:
            grown = self._grown
            while height <= self._store.executed_height and not self._is_closed:
                read = self._read(height)
                events = tuple(
                    event
                    for event in read.events
                    if event.index >= index and (not contracts or event.contract in contracts)
                )
                quiet = 0 if events else quiet + 1
                if events or quiet >= CHECKPOINT_EVERY:
                    quiet = 0
                    for part in _split(replace(read, events=events)):
                        yield part
                height, index = height + 1, 0
                await asyncio.sleep(0)
            await grown.wait()

    def _read(self, height: int) -> EventRead:
        cached = self._cache.get(height)
        if cached is not None:
            return cached
        stored = self._store.read_block(Height(height))
        items: list[EventItem] = []
        for encoded in self._store.get_receipts(Height(height)):
            receipt = decode_receipt(encoded)
            for event in receipt.events:
                writer = Writer()
                write_fields(writer, event.fields)
                items.append(
                    EventItem(
                        index=len(items),
                        tx_id=receipt.tx_id,
                        contract=event.contract,
                        name=event.name,
                        fields=writer.finish(),
                    )
                )
        read = EventRead(
            height=height,
            block_hash=stored.block_hash,
            time_ms=decode_block(stored.block).header.time_ms,
            events=tuple(items),
            next_height=height + 1,
            next_index=0,
        )
        self._cache[height] = read
        if len(self._cache) > CACHED_BLOCKS_MAX:
            self._cache.popitem(last=False)
        return read


def _split(read: EventRead) -> Iterator[EventRead]:
    """Yield a read in parts of bounded size, of which only the last leads to the next block."""
    part: list[EventItem] = []
    size = 0
    for event in read.events:
        size += len(event.fields) + EVENT_OVERHEAD_BYTES
        if part and size > READ_BYTES_MAX:
            yield replace(read, events=tuple(part), next_height=read.height, next_index=part[-1].index + 1)
            part, size = [], len(event.fields) + EVENT_OVERHEAD_BYTES
        part.append(event)
    yield replace(read, events=tuple(part))
