"""What clients may have proved besides receipts: the state after a block, and who validated which epoch."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from tanpo.ledger.errors import CorruptState, Reason, TransactionRejected, Unavailable, UsageError
from tanpo.ledger.genesis import Genesis
from tanpo.ledger.lineage import EpochStep
from tanpo.ledger.statekey import NO_VALUE_HASH, compute_stop, index_key, path_of, value_hash
from tanpo.ledger.stateproof import PathRange, group_range, key_range
from tanpo.ledger.types import Epoch, Height
from tanpo.ledger.validators import Validator, ValidatorSet
from tanpo.node.epochs import Lineage
from tanpo.node.execution import Execution
from tanpo.node.finality import EpochSteps, find_final
from tanpo.storage import LedgerStore, PastState, ShownTree
from tanpo.storage.ledger_store import STATE_REMEDY

ANSWER_BYTES_MAX: Final = 3 << 20
"""Partial tree and values of one answer: with the headers beside them they fit a message of 4 MiB."""

ROWS_A_STEP: Final = 256
"""Values or keys read between two pauses: a few milliseconds."""

STEPS_MAX: Final = 64
"""Epochs in one answer: the validators of each are up to 10 KB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StateQuestion:
    """What is to be proved of the state after a block, 0 for the newest."""

    height: int = 0
    keys: tuple[bytes, ...] = ()
    hashed_keys: tuple[bytes, ...] = ()
    group: bytes = b""
    ranges: tuple[PathRange, ...] = ()

    def list_ranges(self) -> list[PathRange]:
        """Return the ranges of paths that the partial tree must show."""
        listed = [group_range(self.group)] if self.group else []
        return [*listed, *(key_range(key) for key in self.keys + self.hashed_keys), *self.ranges]


@dataclass(frozen=True, slots=True, kw_only=True)
class StateProofRead:
    """A partial tree, the values and keys behind its hashes, and what makes its root final."""

    height: int
    partial_tree: bytes
    entries: tuple[tuple[bytes, bytes], ...]
    group_keys: tuple[bytes, ...]
    header: bytes
    descendants: tuple[bytes, ...]
    commit_proof: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class LineageRead:
    """The validators of an epoch, and the steps from it to later ones."""

    validators: tuple[Validator, ...]
    steps: tuple[EpochStep, ...]


class Proofs:
    """Makes proofs from committed state only."""

    def __init__(self, store: LedgerStore, find_validators: Callable[[Epoch], ValidatorSet | None]) -> None:
        self._store = store
        self._find_validators = find_validators
        self._steps = EpochSteps(store, find_validators)

    @classmethod
    def create(cls, execution: Execution, genesis: Genesis) -> Proofs:
        """Return the proofs of what an execution commits."""
        store = execution.store
        return cls(store, Lineage(store, lambda: execution.machine, genesis).find)

    async def state(self, question: StateQuestion) -> StateProofRead:
        """Return the proof of part of the state after a block. Others get their turn meanwhile.

        Raises:
            Unavailable: no committed header carries that root yet. TransactionRejected: no such height.
            UsageError: it is no longer held, or the answer would be too large.
            CorruptState: the state contradicts its tree; the process must stop.
        """
        height = self._choose_height(question.height)
        header, descendants, commit_proof = find_final(self._store, Height(height + 1))
        steps = self._store.prove(height, question.list_ranges(), ANSWER_BYTES_MAX)
        while True:
            try:
                next(steps)
            except StopIteration as stop:
                shown: ShownTree = stop.value
                break
            await asyncio.sleep(0)
        past = self._store.history.at(height)
        entries = await self._collect_entries(question, past, shown)
        group_keys = await self._name_group(question.group, height, shown) if question.group else []
        past.check()
        _check_size(shown, entries, group_keys)
        return StateProofRead(
            height=height,
            partial_tree=shown.encoded,
            entries=entries,
            group_keys=tuple(group_keys),
            header=header,
            descendants=descendants,
            commit_proof=commit_proof,
        )

    def lineage(self, from_epoch: int) -> LineageRead:
        """Return who validated an epoch, and the steps to those after it as far as they are committed.

        Raises:
            TransactionRejected: it has not begun here.
        """
        validators = self._find_validators(Epoch(from_epoch))
        if validators is None:
            raise TransactionRejected(
                Reason.EPOCH_UNKNOWN,
                "that epoch has not begun at this node",
                value=from_epoch,
                remedy="ask from an earlier epoch, or ask a node that is further on",
            )
        steps: list[EpochStep] = []
        for epoch in range(from_epoch, from_epoch + STEPS_MAX):
            step = self._steps.find(Epoch(epoch))
            if step is None:
                break
            steps.append(step)
        return LineageRead(validators=validators.validators, steps=tuple(steps))

    def _choose_height(self, wanted: int) -> Height:
        newest = self._store.executed_height - 1
        if newest < 0 or wanted == newest + 1:
            raise Unavailable(
                Reason.NOT_FOUND,
                "the block that certifies this state is not committed yet",
                value=wanted,
                limit=max(newest, 0),
                remedy="ask again in a moment",
            )
        if wanted > newest:
            raise TransactionRejected(
                Reason.HEIGHT_UNKNOWN,
                "this node does not hold that height",
                value=wanted,
                limit=newest,
                remedy="ask for 0, the newest height",
            )
        return Height(wanted or newest)

    async def _collect_entries(
        self, question: StateQuestion, past: PastState, shown: ShownTree
    ) -> tuple[tuple[bytes, bytes], ...]:
        entries: list[tuple[bytes, bytes]] = []
        size = 0
        for number, key in enumerate(dict.fromkeys(question.keys), 1):
            if path_of(key) not in shown.entries:
                continue
            value = past.get(key)
            if value is None or value_hash(value) != shown.entries[path_of(key)]:
                # Had the height left the window, what was read would be newer.
                past.check()
                raise _contradiction(key)
            entries.append((key, value))
            size += len(value)
            if size > ANSWER_BYTES_MAX:
                raise _too_large(len(question.keys))
            if not number % ROWS_A_STEP:
                await asyncio.sleep(0)
        return tuple(entries)

    async def _name_group(self, group: bytes, height: Height, shown: ShownTree) -> list[bytes]:
        """Return the raw keys of every index entry in a group's range, ascending."""
        wanted = group_range(group)
        entries = shown.entries.items()
        unnamed = {path for path, digest in entries if digest == NO_VALUE_HASH and wanted.contains(path)}
        names: list[bytes] = []
        for found in self._store.groups.list_sharing(group):
            start = index_key(found, b"")
            stop = compute_stop(start)
            while True:
                # Each page is a reading of its own: how much one may step over is bounded.
                past = self._store.history.at(height)
                page = [key for key, _ in past.scan(start, stop, ROWS_A_STEP)]
                past.check()
                names += page
                if len(page) < ROWS_A_STEP:
                    break
                start = page[-1] + b"\0"
                await asyncio.sleep(0)
        if {path_of(key) for key in names} != unnamed:
            raise Unavailable(
                Reason.NOT_FOUND,
                "this node cannot name all that shares the group's range",
                value=group[:64].hex(),
                remedy="ask another node, or start this one again",
            )
        return sorted(names)


def _contradiction(key: bytes) -> CorruptState:
    return CorruptState(
        Reason.DATA_CORRUPT,
        "the state has another value under a key than its tree",
        value=key[:64].hex(),
        remedy=STATE_REMEDY,
    )


def _check_size(shown: ShownTree, entries: Sequence[tuple[bytes, bytes]], names: Sequence[bytes]) -> None:
    size = len(shown.encoded) + sum(len(key) + len(value) for key, value in entries) + sum(map(len, names))
    if size > ANSWER_BYTES_MAX:
        raise _too_large(len(entries) + len(names))


def _too_large(count: int) -> UsageError:
    return UsageError(
        Reason.TOO_LARGE,
        "the answer is too large",
        value=f"{count} keys",
        limit=f"{ANSWER_BYTES_MAX} bytes",
        remedy="ask for fewer keys at once",
    )
