"""Admitted transactions that wait for their block: bounded, first come first served, each request once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from tanpo.ledger.errors import Reason, TransactionRejected, Unavailable
from tanpo.ledger.genesis import Parameters
from tanpo.ledger.transaction import Envelope, Transaction
from tanpo.ledger.types import TxId

ENTRY_OVERHEAD_BYTES: Final = 1_500
"""What an entry costs besides its encoding: decoded fields and indexes, measured on CPython 3.11."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MempoolLimits:
    """Bounds of the pool. A member's quota keeps one member from filling it alone."""

    transactions_max: int = 20_000
    bytes_max: int = 64 * 1024 * 1024
    member_transactions_max: int = 10_000


@dataclass(slots=True, kw_only=True)
class Entry:
    """An envelope whose signatures were checked. `is_own` when a client gave it to this node.

    `shared_ms` is when it was last sent to the other validators, by the monotonic clock.
    """

    envelope: Envelope
    arrived_ms: int
    is_own: bool
    shared_ms: int
    digests: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class BlockUse:
    """How much of a block's room envelopes take."""

    transaction_count: int = 0
    byte_count: int = 0
    gas: int = 0

    def __str__(self) -> str:
        return f"{self.transaction_count} transactions, {self.byte_count} bytes, {self.gas} gas"

    def plus(self, envelope: Envelope) -> BlockUse:
        """Return the use with one more envelope."""
        return BlockUse(
            self.transaction_count + len(envelope.transactions),
            self.byte_count + len(envelope.encoded) + 4,
            self.gas + sum(tx.gas_limit for tx in envelope.transactions),
        )

    def fits(self, limits: Parameters) -> bool:
        """Return whether a block of the network may hold this much."""
        return (
            self.transaction_count <= limits.block_transactions_max
            and self.byte_count <= limits.block_bytes_max
            and self.gas <= limits.block_gas_max
        )


class Mempool:
    """Pending envelopes by arrival, with a bound for all and one per member."""

    def __init__(self, limits: MempoolLimits) -> None:
        self._limits = limits
        self._entries: dict[bytes, Entry] = {}
        self._requests: dict[bytes, tuple[TxId, bytes]] = {}
        self._per_member: dict[str, int] = {}
        self._transaction_count = 0
        self._byte_count = 0

    def __len__(self) -> int:
        return self._transaction_count

    @property
    def byte_count(self) -> int:
        """Memory held by the pool, estimated."""
        return self._byte_count

    def find(self, signed_hash: bytes) -> Envelope | None:
        """Return the checked envelope with exactly these bytes, if it waits here."""
        entry = self._entries.get(signed_hash)
        return entry.envelope if entry else None

    def find_request(self, digest: bytes) -> TxId | None:
        """Return the transaction that waits under (member, request_id), if any."""
        known = self._requests.get(digest)
        return known[0] if known else None

    def check_room(self, envelope: Envelope) -> None:
        """Raise `Unavailable` when the pool, or the member's share of it, is full."""
        count = len(envelope.transactions)
        size = len(envelope.encoded) + ENTRY_OVERHEAD_BYTES * count
        if self._transaction_count + count > self._limits.transactions_max:
            raise _full(self._transaction_count, f"{self._limits.transactions_max} transactions")
        if self._byte_count + size > self._limits.bytes_max:
            raise _full(self._byte_count, f"{self._limits.bytes_max} bytes")
        for member in {tx.member for tx in envelope.transactions}:
            held = self._per_member.get(member, 0)
            if held + count > self._limits.member_transactions_max:
                raise Unavailable(
                    Reason.MEMBER_QUOTA,
                    f"member {member} has too many pending transactions",
                    value=held,
                    limit=self._limits.member_transactions_max,
                    remedy="wait for outcomes, then send again with the same request id",
                )

    def check_requests(self, envelope: Envelope) -> bool:
        """Return whether exactly these transactions already wait here.

        Raises:
            TransactionRejected: a request id waits here, or stands twice in the envelope, with other bytes.
        """
        digests = [tx.request_digest for tx in envelope.transactions]
        if len(set(digests)) != len(digests):
            raise reused_request(envelope.transactions[0])
        waiting = 0
        for transaction, digest in zip(envelope.transactions, digests, strict=True):
            known = self.find_request(digest)
            if known is None:
                continue
            if known != transaction.tx_id:
                raise reused_request(transaction)
            waiting += 1
        if waiting and waiting != len(digests):
            raise reused_request(envelope.transactions[0])
        return waiting > 0

    def add(self, envelope: Envelope, now_ms: int, *, is_own: bool) -> None:
        """Take in an envelope that passed every check."""
        digests = tuple(tx.request_digest for tx in envelope.transactions)
        self._entries[envelope.signed_hash] = Entry(
            envelope=envelope, arrived_ms=now_ms, is_own=is_own, shared_ms=now_ms, digests=digests
        )
        for transaction, digest in zip(envelope.transactions, digests, strict=True):
            self._requests[digest] = (transaction.tx_id, envelope.signed_hash)
            self._per_member[transaction.member] = self._per_member.get(transaction.member, 0) + 1
        self._transaction_count += len(digests)
        self._byte_count += len(envelope.encoded) + ENTRY_OVERHEAD_BYTES * len(digests)

    def remove_requests(self, digests: Iterable[bytes]) -> list[Transaction]:
        """Drop every envelope that holds one of these requests, which were committed; return what it held."""
        dropped: list[Transaction] = []
        for digest in digests:
            known = self._requests.get(digest)
            if known is not None:
                dropped += self._remove(known[1]).envelope.transactions
        return dropped

    def remove(self, is_over: Callable[[Envelope], bool]) -> list[Transaction]:
        """Drop envelopes that have become good for nothing; return their transactions."""
        over = [signed_hash for signed_hash, entry in self._entries.items() if is_over(entry.envelope)]
        return [tx for signed_hash in over for tx in self._remove(signed_hash).envelope.transactions]

    def select(
        self,
        limits: Parameters,
        time_ms: int,
        is_taken: Callable[[bytes], bool],
        accepts: Callable[[Envelope], bool] = lambda _: True,
    ) -> list[Envelope]:
        """Return envelopes for a block at `time_ms`, oldest first, within the block's limits.

        `is_taken` tells of a request that an uncommitted ancestor already holds, `accepts` whether that block
        may hold an envelope.
        """
        chosen: list[Envelope] = []
        used = BlockUse()
        for entry in self._entries.values():
            envelope = entry.envelope
            if any(is_taken(digest) for digest in entry.digests):
                continue
            if not fits_time(envelope, time_ms, limits.validity_max_ms) or not accepts(envelope):
                continue
            used = used.plus(envelope)
            if not used.fits(limits):
                break
            chosen.append(envelope)
        return chosen

    def oldest_arrival_ms(self, time_ms: int) -> int | None:
        """Return when the oldest still valid entry arrived (monotonic), None when there is none."""
        for entry in self._entries.values():
            if all(tx.valid_until_ms >= time_ms for tx in entry.envelope.transactions):
                return entry.arrived_ms
        return None

    def take_unshared(self, now_ms: int, after_ms: int, bytes_max: int) -> list[bytes]:
        """Return own envelopes to send again: links lose messages, and a leader may have missed them."""
        chosen: list[bytes] = []
        size = 0
        for entry in self._entries.values():
            if now_ms - entry.arrived_ms < after_ms or size > bytes_max:
                break
            if entry.is_own and now_ms - entry.shared_ms >= after_ms:
                entry.shared_ms = now_ms
                chosen.append(entry.envelope.encoded)
                size += len(entry.envelope.encoded)
        return chosen

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries.values())

    def _remove(self, signed_hash: bytes) -> Entry:
        entry = self._entries.pop(signed_hash)
        for transaction, digest in zip(entry.envelope.transactions, entry.digests, strict=True):
            self._requests.pop(digest, None)
            self._per_member[transaction.member] -= 1
            if not self._per_member[transaction.member]:
                del self._per_member[transaction.member]
        self._transaction_count -= len(entry.digests)
        self._byte_count -= len(entry.envelope.encoded) + ENTRY_OVERHEAD_BYTES * len(entry.digests)
        return entry


def fits_time(envelope: Envelope, time_ms: int, validity_max_ms: int) -> bool:
    """Return whether every transaction may execute in a block at this time (D5)."""
    return all(time_ms <= tx.valid_until_ms <= time_ms + validity_max_ms for tx in envelope.transactions)


def has_expired(envelope: Envelope, time_ms: int) -> bool:
    """Return whether `time_ms` (Unix) is past what a transaction of an envelope is valid for."""
    return any(tx.valid_until_ms < time_ms for tx in envelope.transactions)


def reused_request(transaction: Transaction) -> TransactionRejected:
    """Return the refusal of a request id that names another transaction already."""
    return TransactionRejected(
        Reason.REQUEST_ID_REUSED,
        f"member {transaction.member} has used this request id for another transaction",
        value=transaction.request_id,
        remedy="ask for its outcome, or choose a new request id",
    )


def overtaken(transaction: Transaction) -> TransactionRejected:
    """Return why a transaction left the pool whose envelope holds one that was committed in another."""
    return TransactionRejected(
        Reason.REQUEST_ID_REUSED,
        "a transaction of the same envelope was committed in another envelope",
        value=transaction.request_id,
        remedy="submit it again, with the same request id, in an envelope of its own",
    )


def _full(value: object, limit: object) -> Unavailable:
    return Unavailable(
        Reason.MEMPOOL_FULL,
        "too many transactions are waiting",
        value=value,
        limit=limit,
        remedy="wait and send again with the same request id",
    )
