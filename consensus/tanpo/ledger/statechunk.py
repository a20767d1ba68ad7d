"""Chunks of a snapshot: whole buckets of one state from a cursor on, each verified alone (STATE.md section
5).

A chunk is a partial tree that shows its buckets as `PAIRS`, with keys and values, and hides the rest by
`HASH`. Cursors are paths. The first one is 0, and a chunk says where the next begins: at the first range
after its own cursor that it hides. So chunks cover the state without gap or overlap, in whatever order and
from whichever node they come.

Where chunks end is a function of the state alone (`CHUNK_BYTES`): all nodes cut the same ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from tanpo.ledger.errors import PeerFault, Reason
from tanpo.ledger.statekey import BUCKET_ENTRIES_MAX, KEY_BYTES_MAX, VALUE_BYTES_MAX
from tanpo.ledger.stateproof import PATH_BITS, PartialTree, verify_partial_tree
from tanpo.ledger.types import StateRoot

CHUNK_BYTES: Final = 1 << 20
"""A chunk ends with the bucket that brings its buckets to this size."""

CHUNK_BYTES_MAX: Final = CHUNK_BYTES + BUCKET_ENTRIES_MAX * (KEY_BYTES_MAX + VALUE_BYTES_MAX) + (1 << 17)
"""No chunk is larger: its last bucket may hold eight of the longest pairs, and some hashes lie around it."""

PATH_STOP: Final = 1 << PATH_BITS
"""The cursor after the last path: the chunk that leads there is the last one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """A verified chunk: all there is in the state from the path `start` up to, but without, `stop`.

    `entries` maps paths to value hashes in order of path, `pairs` the same keys to their values.
    """

    start: int
    stop: int
    entries: Mapping[bytes, bytes]
    pairs: Mapping[bytes, bytes]


def verify_chunk(encoded: bytes, state_root: StateRoot, start: int) -> Chunk:
    """Return what a chunk holds of the state with this root, from the cursor `start` on.

    Raises:
        PeerFault: it is no chunk of that state from there on (PROOF_INVALID, MALFORMED).
    """
    if len(encoded) > CHUNK_BYTES_MAX:
        raise _invalid("it is too long", value=len(encoded), limit=f"{CHUNK_BYTES_MAX} bytes")
    tree = verify_partial_tree(encoded, state_root)
    stop = _find_stop(tree, start)
    if len(tree.entries) != len(tree.pairs):
        raise _invalid(
            "a bucket comes without its values", value=len(tree.pairs), limit=f"{len(tree.entries)} pairs"
        )
    # In pre-order paths ascend, so the first and the last bound them all.
    for path in list(tree.entries)[:: max(1, len(tree.entries) - 1)]:
        if not start <= int.from_bytes(path, "big") < stop:
            raise _invalid("it shows more than its own range", value=path.hex(), limit=f"{start:064x}")
    return Chunk(start=start, stop=stop, entries=tree.entries, pairs=tree.pairs)


def _find_stop(tree: PartialTree, start: int) -> int:
    for hidden in tree.hidden:
        if hidden.stop <= start:
            continue
        if hidden.start <= start:
            raise _invalid(
                "it hides where it is to begin", value=f"{hidden.start:064x}", limit=f"{start:064x}"
            )
        return hidden.start
    return PATH_STOP


def _invalid(why: str, *, value: object = "", limit: object = "") -> PeerFault:
    return PeerFault(
        Reason.PROOF_INVALID, f"state chunk: {why}", value=value, limit=limit, remedy="ask another node"
    )
