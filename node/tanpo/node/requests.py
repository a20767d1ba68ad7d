"""Which requests the chain has already executed (D5): the exactly-once memory, part of the state.

Each block with transactions writes one state entry listing the digests of (member, request_id) it executed
and the latest `valid_until` among them. Entries are deleted, oldest first, once block time has passed that
`valid_until`: such a request cannot return, because it has expired. So the memory is bounded by the
validity window, costs one touched key a block, and comes back with the state after any restart.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Final

from tanpo.ledger.codec import Reader, Writer
from tanpo.ledger.transaction import Transaction
from tanpo.storage import StateReader

REQUESTS_PREFIX: Final = b"\x02\x00requests/"
DIGEST_BYTES: Final = 32
PRUNED_PER_BLOCK_MAX: Final = 8
"""Entries deleted by one block: more than one, so that pruning catches up; few, so that no block is slow."""

_DIGESTS_MAX: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRecord:
    """The requests of one block; `expires_ms` is the latest `valid_until` among them."""

    height: int
    expires_ms: int
    digests: frozenset[bytes]

    @property
    def key(self) -> bytes:
        """The state key of this record."""
        return REQUESTS_PREFIX + self.height.to_bytes(8, "big")


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestStep:
    """What one block does to the memory: adds its own record, prunes expired ones."""

    added: RequestRecord | None
    pruned_count: int
    changes: dict[bytes, bytes | None]


class RequestMemory:
    """The records of the committed chain; blocks above it are handed in as steps, oldest first."""

    def __init__(self, records: Iterable[RequestRecord] = ()) -> None:
        self._records: deque[RequestRecord] = deque(records)
        self._digests: set[bytes] = set()
        for record in self._records:
            self._digests |= record.digests

    def __len__(self) -> int:
        return len(self._digests)

    def holds(self, digest: bytes) -> bool:
        """Return whether a committed block executed this request."""
        return digest in self._digests

    def compute_step(
        self, height: int, time_ms: int, transactions: Sequence[Transaction], above: Sequence[RequestStep]
    ) -> RequestStep:
        """Return what a block does, given the steps of its uncommitted ancestors. Changes nothing.

        The result depends on the block's chain alone, not on how much of it this node has committed.
        """
        already = sum(step.pruned_count for step in above)
        pruned = []
        for record in islice(self._walk(above), already, already + PRUNED_PER_BLOCK_MAX):
            if record.expires_ms >= time_ms:
                break
            pruned.append(record)
        changes: dict[bytes, bytes | None] = {record.key: None for record in pruned}
        added = None
        if transactions:
            added = RequestRecord(
                height=height,
                expires_ms=max(tx.valid_until_ms for tx in transactions),
                digests=frozenset(tx.request_digest for tx in transactions),
            )
            changes[added.key] = encode_record(added)
        return RequestStep(added=added, pruned_count=len(pruned), changes=changes)

    def apply_step(self, step: RequestStep) -> None:
        """Take over the step of a block that was committed."""
        if step.added is not None:
            self._records.append(step.added)
            self._digests |= step.added.digests
        for _ in range(step.pruned_count):
            self._digests -= self._records.popleft().digests

    def _walk(self, above: Sequence[RequestStep]) -> Iterator[RequestRecord]:
        return chain(self._records, (step.added for step in above if step.added is not None))


def find_oldest_height(state: StateReader) -> int | None:
    """Return the height of the oldest block that has requests in the memory, None if no block has."""
    rows = state.scan(REQUESTS_PREFIX, REQUESTS_PREFIX + b"\xff" * 9, 1)
    return decode_record(rows[0][1]).height if rows else None


def encode_record(record: RequestRecord) -> bytes:
    """Return the state value of a record."""
    writer = Writer().u64(record.height).u64(record.expires_ms).u32(len(record.digests))
    return writer.raw(b"".join(sorted(record.digests))).finish()


def decode_record(encoded: bytes) -> RequestRecord:
    """Return the record that a state value spells."""
    reader = Reader(encoded)
    height, expires_ms = reader.u64(), reader.u64()
    digests = frozenset(reader.raw(DIGEST_BYTES) for _ in range(reader.count(_DIGESTS_MAX)))
    reader.finish()
    return RequestRecord(height=height, expires_ms=expires_ms, digests=digests)
