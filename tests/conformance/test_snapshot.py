"""A golden snapshot of three chunks, put together by a second implementation that shares no code with the
product.

The state: `k0` to `k19` with the values `v0` to `v19`, and the members 0 to 11 of the index group `g`, empty.
Nodes of different versions fetch chunks from each other: changing a byte here is a break between them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from tanpo.ledger.errors import PeerFault
from tanpo.ledger.statechunk import verify_chunk
from tanpo.ledger.statekey import index_key
from tanpo.ledger.types import BlockHash, Height, StateRoot
from tanpo.storage.database import Database, FrozenView, seal
from tanpo.storage.manifest import Manifest
from tanpo.storage.snapshots import Draft, SnapshotStore

GOLDEN = json.loads((Path(__file__).parent / "state_snapshot.json").read_text())
CHUNKS = [bytes.fromhex(chunk) for chunk in GOLDEN["chunks"]]
ROOT = StateRoot(bytes.fromhex(GOLDEN["state_root"]))
CHUNK_BYTES = 130
STATE: dict[bytes, bytes] = {b"k%d" % n: b"v%d" % n for n in range(20)} | {
    index_key(b"g", b"%d" % n): b"" for n in range(12)
}


def make_snapshot(folder: Path) -> tuple[Manifest, list[bytes]]:
    database = Database.open(folder / "state", remedy="none", cache_bytes=1 << 20, write_buffer_bytes=1 << 20)
    database.write({b"S" + key: seal(b"S" + key, value) for key, value in STATE.items()}, [])
    store = SnapshotStore.open(folder / "snapshots", chunk_bytes=CHUNK_BYTES)
    draft = Draft(height=Height(1000), state_root=ROOT)
    steps = store.make(draft, FrozenView(database))
    while True:
        try:
            next(steps)
        except StopIteration as end:
            manifest = store.publish(draft, BlockHash(bytes(32)), end.value, b"")
            break
    database.close()
    return manifest, [store.read_chunk(manifest.digest, at) for at in range(len(manifest.chunks))]


def second_reading(chunk: bytes) -> Iterator[tuple[str, bytes, dict[bytes, bytes]]]:
    """Sections 3 and 5 of the specification, read anew: each leaf with its digits, its hash and its pairs."""
    waiting, at = [""], 0
    while waiting:
        digits, tag, at = waiting.pop(), chunk[at], at + 1
        if tag == 3:
            waiting += [digits + which for which in "3210"]
        elif tag == 1:
            yield digits, chunk[at : at + 32], {}
            at += 32
        elif tag == 4:
            pairs, entries, count, at = {}, b"", chunk[at], at + 1
            for _ in range(count):
                key = chunk[at + 2 : at + 2 + int.from_bytes(chunk[at : at + 2], "big")]
                at += 2 + len(key)
                value = chunk[at + 4 : at + 4 + int.from_bytes(chunk[at : at + 4], "big")]
                at += 4 + len(value)
                pairs[key] = value
                entries += second_path(key) + sha256(b"\x11" + value).digest()
            yield digits, sha256(b"\x00" + entries).digest(), pairs
        else:
            assert tag == 0, "a chunk holds nothing else"
            yield digits, bytes(32), {}
    assert at == len(chunk)


def second_path(key: bytes) -> bytes:
    digest = sha256(b"\x10" + key).digest()
    if key[1:2] != b"\x01":
        return digest
    length = key[2] << 8 | key[3]
    return sha256(b"\x12" + key[4 : 4 + length]).digest()[:2] + digest[2:]


def second_root(leaves: dict[str, bytes]) -> bytes:
    """Fold the leaves up to the root, the deepest first."""
    for depth in range(max(map(len, leaves)), 0, -1):
        for parent in sorted({digits[:-1] for digits in leaves if len(digits) == depth}):
            children = b"".join(leaves.pop(parent + which) for which in "0123")
            leaves[parent] = sha256(b"\x01" + children).digest()
    return sha256(b"\x02tanpo-state-1" + leaves[""]).digest()


def test_the_product_cuts_the_golden_chunks(tmp_path: Path) -> None:
    manifest, chunks = make_snapshot(tmp_path)
    assert len(chunks) == 3
    assert [chunk.hex() for chunk in chunks] == GOLDEN["chunks"]
    assert manifest.encoded.hex() == GOLDEN["manifest"]


def test_a_second_implementation_puts_the_state_together(tmp_path: Path) -> None:
    found: dict[bytes, bytes] = {}
    cursor = 0
    for chunk in CHUNKS:
        leaves = list(second_reading(chunk))
        assert second_root({digits: digest for digits, digest, _ in leaves}) == ROOT
        hidden = [
            int(digits or "0", 4) << 256 - 2 * len(digits)
            for digits, digest, pairs in leaves
            if not pairs and digest != bytes(32)
        ]
        following = min((start for start in hidden if start >= cursor), default=1 << 256)
        assert verify_chunk(chunk, ROOT, cursor).stop == following
        for _, _, pairs in leaves:
            found |= pairs
        cursor = following
    assert cursor == 1 << 256
    assert found == STATE


@pytest.mark.parametrize("name", GOLDEN["refused"])
def test_what_is_no_chunk_of_that_cursor_is_refused(name: str) -> None:
    case = GOLDEN["refused"][name]
    with pytest.raises(PeerFault, match=case["says"]):
        verify_chunk(bytes.fromhex(case["chunk"]), ROOT, int(case["cursor"], 16))
