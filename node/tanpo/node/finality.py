"""What makes a committed block final, for those who check it: a chain of headers up to one with a proof."""

from __future__ import annotations

from collections.abc import Callable

from tanpo.ledger.block import BlockFlags, Header, encode_header, read_header
from tanpo.ledger.certificate import decode_commit_proof
from tanpo.ledger.codec import Reader
from tanpo.ledger.errors import Reason, Unavailable, invariant
from tanpo.ledger.lineage import DESCENDANTS_MAX, EpochStep
from tanpo.ledger.snapshotproof import decode_step
from tanpo.ledger.types import Epoch, Height
from tanpo.ledger.validators import ValidatorSet
from tanpo.storage import LedgerStore


def find_final(store: LedgerStore, height: Height) -> tuple[bytes, tuple[bytes, ...], bytes]:
    """Return the header at `height`, those above it up to a proven block, and that block's proof.

    A proof may be stored only with blocks far below the one that it proves: each of a batch that was fetched
    has it, and a stop in the middle of that has the rest fetched with a proof of later blocks.

    Raises:
        Unavailable: the proof of this height is not stored yet.
    """
    headers: list[bytes] = []
    proofs: dict[bytes, bytes] = {}
    latest = b""
    top = min(height + DESCENDANTS_MAX, store.executed_height)
    for number in range(height, top + 1):
        stored = store.read_block(Height(number))
        headers.append(encode_header(read_header(Reader(stored.block))))
        if stored.proof != latest:
            latest = stored.proof
            proofs[decode_commit_proof(latest).block_hash] = latest
        if stored.block_hash in proofs:
            return headers[0], tuple(headers[1:]), proofs[stored.block_hash]
    raise Unavailable(
        Reason.NOT_FOUND, "the proof of this height is not stored yet", value=height, remedy="ask again"
    )


class EpochSteps:
    """How each epoch followed from the one before, for those who check it.

    A ledger that begins with a snapshot remembers the steps of before, which it proved when it joined.
    """

    def __init__(self, store: LedgerStore, find_validators: Callable[[Epoch], ValidatorSet | None]) -> None:
        self._store = store
        self._find_validators = find_validators
        self._ends: dict[Epoch, Height] = {}

    def find(self, epoch: Epoch) -> EpochStep | None:
        """Return the step from an epoch to the next one, None while it has not ended.

        Raises:
            Unavailable: the proof of its last block is not stored yet.
        """
        link = self._store.beginning.find_link(epoch)
        if link is not None:
            return decode_step(link)
        end = self._ends.get(epoch) or find_epoch_end(self._store, epoch)
        if end is None:
            return None
        self._ends[epoch] = end
        following = self._find_validators(Epoch(epoch + 1))
        header, descendants, commit_proof = find_final(self._store, end)
        # Blocks that are fetched come with a proof of their own epoch (SPEC, C3): the last one with its own.
        invariant(not descendants and following is not None, f"epoch {epoch} ended without a proof")
        return EpochStep(
            header=header, commit_proof=commit_proof, validators=following.validators if following else ()
        )


def find_epoch_end(store: LedgerStore, epoch: int) -> Height | None:
    """Return the height of an epoch's last block: some 20 reads. None at once while it has not ended.

    The epochs of blocks ascend, so it is the last one that is of no later epoch.
    """
    low, high = int(store.beginning.height), int(store.executed_height)
    if not high or not _is_past(_read_header(store, high), epoch):
        return None
    while low < high:
        middle = (low + high + 1) // 2
        if _read_header(store, middle).epoch <= epoch:
            low = middle
        else:
            high = middle - 1
    # Not so where the epoch ended before the first block that is held here.
    return Height(low) if low and _read_header(store, low).epoch == epoch else None


def _is_past(tip: Header, epoch: int) -> bool:
    return tip.epoch > epoch or (tip.epoch == epoch and bool(tip.flags & BlockFlags.EPOCH_END))


def _read_header(store: LedgerStore, height: int) -> Header:
    return read_header(Reader(store.read_block(Height(height)).block))
