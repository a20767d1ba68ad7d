"""A disk that keeps what was synced, may keep what was not, and may rot: under the store's real rules.

Two parts, as in a data directory: `SafetyDisk` holds the replica's promises the way `tanpo.storage` lays them
out (a database and two guard slots; `recall.py` judges what is found), `ChainDisk` the committed blocks.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from tanpo.ledger.block import Block
from tanpo.ledger.certificate import CommitProof
from tanpo.ledger.errors import InvariantViolation, invariant
from tanpo.ledger.types import BlockHash
from tanpo.simulator.application import State
from tanpo.storage import SafetyImage, SafetyWrite
from tanpo.storage.guard import SLOT_BYTES, SLOTS, encode_slot, read_slots
from tanpo.storage.recall import (
    BLOCK_PREFIX,
    RECORD_KEY,
    SafetyBatch,
    build_batch,
    build_first_batch,
    is_guard_behind,
    read_image,
    read_record,
)


class SafetyDisk:
    """What a validator must never forget, on a simulated disk.

    `begin` and `finish` frame one write; a crash in between calls `tear` instead of `finish`. `record` and
    `blocks` mirror what is durable, apart from the layout: what a restart must find.
    """

    def __init__(self) -> None:
        first = build_first_batch()
        self.record: bytes | None = None
        self.blocks: dict[BlockHash, bytes] = {}
        self._database: dict[bytes, bytes] = dict(first.puts)
        self._before: dict[bytes, bytes] = dict(first.puts)
        self._slots: list[tuple[int, bytes] | bytes] = [(0, first.guard_payload)] * SLOTS
        self._sequence = 0
        self._pending: tuple[SafetyWrite, SafetyBatch] | None = None

    def copy(self) -> SafetyDisk:
        """Return a backup of what is durable now."""
        twin = SafetyDisk()
        twin.record, twin.blocks = self.record, dict(self.blocks)
        twin._database, twin._before = dict(self._database), dict(self._before)
        twin._slots, twin._sequence = list(self._slots), self._sequence
        return twin

    def begin(self, write: SafetyWrite) -> None:
        """Start a write; nothing of it is durable yet."""
        invariant(self._pending is None, "a write begins after the one before")
        self._pending = (write, build_batch(self._sequence + 1, self.blocks.keys(), write))

    def finish(self) -> None:
        """Complete the write that was begun: database first, then the guard's slot."""
        batch = self._apply()
        self._slots[batch.sequence % SLOTS] = (batch.sequence, batch.guard_payload)

    def tear(self, rng: random.Random, *, is_torn: bool) -> bool:
        """Crash in the middle of the write; return whether anything of it is left."""
        if self._pending is None or not is_torn:
            self._pending = None
            return False
        batch = self._apply()
        if rng.random() < 0.5:
            cut, slot = rng.randrange(1, SLOT_BYTES), batch.sequence % SLOTS
            self._slots[slot] = (
                encode_slot(batch.sequence, batch.guard_payload)[:cut] + self._read(slot)[cut:]
            )
        return True

    def rot(self, rng: random.Random) -> None:
        """Flip a bit, or lose the end of the database's log in silence."""
        target = rng.choice(("record", "block", "slot", "log"))
        keys = sorted(key for key in self._database if key.startswith(BLOCK_PREFIX))
        if target == "log" and self._sequence > 1:
            self._database = dict(self._before)
        elif target == "slot":
            slot = rng.randrange(SLOTS)
            self._slots[slot] = _flip(rng, self._read(slot))
        else:
            key = rng.choice(keys) if target == "block" and keys else RECORD_KEY
            self._database[key] = _flip(rng, self._database[key])

    def load(self) -> SafetyImage:
        """Open the store as a node does.

        Raises:
            Forgotten: promises may be forgotten; the node must not vote.
        """
        stored = read_record(self._database.get(RECORD_KEY))
        if is_guard_behind(stored, read_slots([self._read(slot) for slot in range(SLOTS)])):
            self._slots[stored.sequence % SLOTS] = (stored.sequence, stored.payload)
        rows = [(key, value) for key, value in sorted(self._database.items()) if key != RECORD_KEY]
        self._sequence = stored.sequence
        return read_image(stored, rows)

    def _apply(self) -> SafetyBatch:
        if self._pending is None:
            raise InvariantViolation("no write was begun")
        write, batch = self._pending
        self._pending = None
        self._before = dict(self._database)
        for key in batch.deletes:
            self._database.pop(key, None)
        self._database.update(batch.puts)
        self._sequence = batch.sequence
        self.record = write.record
        self.blocks.update(write.blocks)
        for block_hash in write.dropped:
            self.blocks.pop(block_hash, None)
        return batch

    def _read(self, slot: int) -> bytes:
        """Return a slot's bytes; they are made only when somebody looks."""
        held = self._slots[slot]
        return held if isinstance(held, bytes) else encode_slot(*held)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A committed block, its proof, and the state after it."""

    block: Block
    proof: CommitProof
    state: State


@dataclass(slots=True)
class ChainDisk:
    """The committed blocks. A block is stored whole or not at all, as in `LedgerStore`."""

    genesis: State
    blocks: list[Stored] = field(default_factory=list)
    envelopes: set[bytes] = field(default_factory=set)
    """Every transaction that is in them."""
    evidence: set[bytes] = field(default_factory=set)
    """Every piece of evidence that is in them."""

    @property
    def height(self) -> int:
        """How many blocks are stored."""
        return len(self.blocks)

    @property
    def state(self) -> State:
        """The state after the last of them."""
        return self.blocks[-1].state if self.blocks else self.genesis

    def append(self, stored: Stored) -> None:
        """Store the next block."""
        invariant(stored.block.header.height == self.height + 1, "blocks are stored in height order")
        self.blocks.append(stored)
        self.envelopes.update(stored.block.envelopes)
        self.evidence.update(stored.block.evidence)

    def copy(self) -> ChainDisk:
        """Return a backup."""
        return ChainDisk(
            genesis=self.genesis,
            blocks=list(self.blocks),
            envelopes=set(self.envelopes),
            evidence=set(self.evidence),
        )


def _flip(rng: random.Random, content: bytes) -> bytes:
    at = rng.randrange(len(content))
    return content[:at] + bytes([content[at] ^ (1 << rng.randrange(8))]) + content[at + 1 :]
