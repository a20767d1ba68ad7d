"""Reading the records of the stored tree: a node is checked against the hash in its parent's slot."""

from __future__ import annotations

from dataclasses import dataclass

from tanpo.ledger.statekey import hash_bucket, hash_inner
from tanpo.storage.database import Database
from tanpo.storage.nodelog import NodeLog
from tanpo.storage.records import (
    ENTRY_BYTES,
    HASHES_AT,
    INNER,
    INNER_STORED_BYTES,
    Root,
    Slot,
    decode_root,
    root_key,
    unseal_inner,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeSource:
    """Where the records of a tree are: its roots in the database, its nodes in the log."""

    database: Database
    log: NodeLog


def read_node(source: TreeSource, pid: int, slot: Slot) -> bytes | None:
    """Return the record of a node that its parent's slot says is there, or `None` if the log begins later.

    Raises:
        CorruptState: it does not match its slot: the node must stop.
    """
    is_inner = slot[0] == INNER
    size = INNER_STORED_BYTES if is_inner else slot[0] * ENTRY_BYTES
    stored = source.log.read(int.from_bytes(slot[1], "big"), size)
    if stored is None:
        return None
    if len(stored) != size:
        raise source.database.damaged(
            f"tree record is {len(stored)} bytes long", value=name_node(pid, slot), limit=f"{size} bytes"
        )
    record = unseal_inner(stored) if is_inner else stored
    if record is None:
        raise source.database.damaged("checksum of a tree record is wrong", value=name_node(pid, slot))
    if (hash_inner(record[HASHES_AT:]) if is_inner else hash_bucket(record)) != slot[3]:
        raise source.database.damaged("tree record does not match its hash", value=name_node(pid, slot))
    return record


def read_root(database: Database, height: int) -> Root | None:
    """Return the root of a height, or `None` if it is not in the window. Raises `CorruptState`."""
    record = database.get_sealed(root_key(height))
    if record is None:
        return None
    root = decode_root(record)
    if root is None:
        raise database.damaged("root record is malformed", value=f"height {height}")
    return root


def name_node(pid: int, slot: Slot) -> str:
    """Return how errors name a node."""
    return f"node {pid:x} at {int.from_bytes(slot[1], 'big')}"
