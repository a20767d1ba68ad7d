"""Reading the records of the stored tree: a node is checked against the hash in its parent's slot."""

from __future__ import annotations

from tanpo.ledger.statekey import hash_bucket, hash_inner
from tanpo.storage.database import Database
from tanpo.storage.records import (
    ENTRY_BYTES,
    HASHES_AT,
    INNER,
    INNER_BYTES,
    Slot,
    decode_root,
    node_key,
    root_key,
)


def read_node(database: Database, pid: int, slot: Slot) -> bytes | None:
    """Return the record of a node that its parent's slot says is there, or `None` if it is not on disk.

    Raises:
        CorruptState: it does not match its slot: the node must stop.
    """
    record = database.get_hashed(node_key(pid, slot[1]))
    if record is None:
        return None
    is_inner = slot[0] == INNER
    size = INNER_BYTES if is_inner else slot[0] * ENTRY_BYTES
    if len(record) != size:
        raise database.damaged(
            f"tree record is {len(record)} bytes long", value=name_node(pid, slot), limit=f"{size} bytes"
        )
    if (hash_inner(record[HASHES_AT:]) if is_inner else hash_bucket(record)) != slot[2]:
        raise database.damaged("tree record does not match its hash", value=name_node(pid, slot))
    return record


def read_root(database: Database, height: int) -> Slot | None:
    """Return the root of a height, or `None` if it is not in the window. Raises `CorruptState`."""
    record = database.get_sealed(root_key(height))
    if record is None:
        return None
    slot = decode_root(record)
    if slot is None:
        raise database.damaged("root record is malformed", value=f"height {height}")
    return slot


def name_node(pid: int, slot: Slot) -> str:
    """Return how errors name a node."""
    return f"node {pid:x} of height {slot[1]}"
