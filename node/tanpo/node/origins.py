"""Where the chain of a node is executed anew from: its genesis, or a snapshot that the node kept.

A snapshot on the own disk is believed as little as one from a peer. Its root is proved from the genesis,
every chunk is verified against it, and the block that it is of must be the one in `blocks/`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tanpo.ledger.errors import PeerFault, Reason, UsageError
from tanpo.ledger.genesis import Genesis
from tanpo.ledger.types import Height, NetworkId
from tanpo.node.replaying import Diverged, Watch
from tanpo.node.snapshot_heads import SnapshotHead, verify_head
from tanpo.storage.files import corrupt
from tanpo.storage.kept import SNAPSHOTS_NAME, KeptSnapshot, list_kept
from tanpo.storage.layout import BLOCKS_NAME, NETWORK_NAME
from tanpo.storage.segments import BlockSegments, read_first
from tanpo.storage.snapshot_building import JOINING_NAME, SnapshotBuilder, move_in

OLDEST: Final = "oldest"

JOIN_REMEDY: Final = (
    "if state/ is sound, as after a restored backup, start the node: it takes snapshots; else move blocks/, "
    "state/, guard and network aside, leave consensus/ as it is, and run `tanpo node join`: it fetches a "
    "snapshot from the peers"
)
OTHER_REMEDY: Final = "name one of these, or leave the choice out"


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """A snapshot to begin with."""

    kept: KeptSnapshot
    head: SnapshotHead

    @property
    def height(self) -> Height:
        """The block whose state it is."""
        return self.kept.manifest.height

    @property
    def name(self) -> str:
        """What tells it from every other, and from genesis."""
        return f"{self.height} {self.kept.manifest.digest.hex()}"


def choose_origin(
    data_dir: Path, genesis: Genesis, *, lowest: Height, highest: Height, wanted: str = ""
) -> Origin | None:
    """Return the snapshot that a chain is to be executed from, None for its genesis.

    Without a wish it is genesis if `lowest`, the first block that matters, follows it, and else the oldest
    snapshot from there on. `wanted` is a height, or `OLDEST`. None above `highest` is taken.

    Raises:
        UsageError: there is no such snapshot. CorruptState: its proof does not stand, or the disk refuses.
    """
    if not wanted and lowest <= 1:
        return None
    kept = [one for one in list_kept(data_dir / SNAPSHOTS_NAME) if lowest <= one.manifest.height <= highest]
    chosen = [one for one in kept if wanted in ("", OLDEST, str(one.manifest.height))]
    if chosen:
        return _verify(chosen[0], genesis)
    if kept:
        heights = ", ".join(str(one.manifest.height) for one in kept)
        raise UsageError(
            Reason.NOT_FOUND,
            "no snapshot of this height is kept",
            value=wanted,
            limit=heights,
            remedy=OTHER_REMEDY,
        )
    raise UsageError(
        Reason.NOT_FOUND,
        f"{data_dir / SNAPSHOTS_NAME} has no snapshot to begin with"
        + (f", and blocks/ begins with block {lowest}" if lowest > 1 else ""),
        value=wanted or "none",
        limit=f"one of a height from {lowest} to {highest}",
        remedy=JOIN_REMEDY if lowest > 1 else "execute the chain from genesis, or wait for a snapshot",
    )


def find_lowest(data_dir: Path) -> Height:
    """Return the first block that a data directory holds. Raises `CorruptState` if the disk refuses."""
    return read_first(data_dir / BLOCKS_NAME)


def check_block(origin: Origin, data_dir: Path, network_id: NetworkId) -> None:
    """Compare the block that a snapshot is of with the one that is stored.

    Raises:
        Diverged: they are not the same. CorruptState: the stored one is damaged or missing.
    """
    height = origin.height
    segments = BlockSegments.open(
        data_dir / BLOCKS_NAME,
        network_id=network_id,
        synced=height,
        first=find_lowest(data_dir),
        is_read_only=True,
    )
    try:
        found, proved = segments.read_hash(height), origin.head.verified.block.block_hash
        if found != proved:
            raise Diverged(
                height=height,
                part="hash",
                place=str(segments.find_path(height)),
                value=found.hex(),
                limit=proved.hex(),
            )
    finally:
        segments.close()


def lay_origin(origin: Origin, work: Path, network_id: NetworkId, watch: Watch) -> None:
    """Build in the folder `work` what `LedgerStore.open` makes a ledger of that begins with the snapshot.

    Interrupted, it goes on where it was; where that ledger was made before, it does nothing.

    Raises:
        Stopped: `watch` was asked to end it.
        CorruptState: a chunk is damaged, or the disk refuses. Unavailable: the disk is full.
    """
    move_in(work)  # If it was interrupted just then.
    if (work / NETWORK_NAME).exists():
        return
    builder = SnapshotBuilder.open(work / JOINING_NAME, origin.kept.manifest)
    try:
        missing = builder.missing
        done = builder.chunk_count - len(missing)
        watch.begin(done, builder.chunk_count, unit="chunk")
        for number, position in enumerate(missing, done + 1):
            encoded = origin.kept.read_chunk(position)
            builder.insert(position, builder.verify(position, encoded))
            watch.note(number)
        builder.finish(network_id, origin.head.make_arrival())
    except PeerFault as fault:
        raise _untrue(origin.kept, fault) from None
    finally:
        builder.close()


def _verify(kept: KeptSnapshot, genesis: Genesis) -> Origin:
    try:
        return Origin(kept=kept, head=verify_head(kept.manifest, kept.proof, genesis))
    except PeerFault as fault:
        raise _untrue(kept, fault) from None


def _untrue(kept: KeptSnapshot, fault: PeerFault) -> Exception:
    return corrupt(
        kept.folder,
        f"the snapshot is not of the state that the chain has: {fault.message}",
        value=fault.value or kept.manifest.state_root.hex(),
        limit=fault.limit,
        remedy=f"remove {kept.folder} and run the command again: it takes another snapshot",
    )
