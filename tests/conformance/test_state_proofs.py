"""Golden proofs of the state, confirmed by a second implementation that shares no code with the product.

The state: `k0` to `k19` with the values `v0` to `v19`, and the members 0 to 11 of the index group `g`, empty.
`state_proofs.json` holds a partial tree of each kind by name. Changing one breaks every proof ever exported.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import pytest
from tanpo.ledger.errors import PeerFault
from tanpo.ledger.statekey import index_key
from tanpo.ledger.stateproof import PathRange, verify_partial_tree
from tanpo.ledger.types import Height, StateRoot
from tanpo.storage.database import Database
from tanpo.storage.proving import prove_group, prove_keys, prove_ranges
from tanpo.storage.tree import StateTree

GOLDEN = json.loads((Path(__file__).parent / "state_proofs.json").read_text())
ZERO = bytes(32)
STATE: dict[bytes, bytes] = {b"k%d" % n: b"v%d" % n for n in range(20)} | {
    index_key(b"g", b"%d" % n): b"" for n in range(12)
}
QUARTER = PathRange(start=0, stop=1 << 254)


def hash_of(*parts: bytes) -> bytes:
    return sha256(b"".join(parts)).digest()


def second_path(key: bytes) -> bytes:
    """Section 1 of the specification, read anew."""
    digest = hash_of(b"\x10", key)
    if key[1:2] != b"\x01":
        return digest
    length = key[2] << 8 | key[3]
    return hash_of(b"\x12", key[4 : 4 + length])[:2] + digest[2:]


def digits_of(path: bytes) -> str:
    return "".join(str(byte >> shift & 3) for byte in path for shift in (6, 4, 2, 0))


@dataclass
class Second:
    """Section 3 of the specification, read anew: digits as text, one loop over the bytes."""

    data: bytes
    at: int = 0
    shown: dict[str, bytes] = field(default_factory=dict)
    hidden: list[str] = field(default_factory=list)

    def take(self, size: int) -> bytes:
        assert self.at + size <= len(self.data), "truncated"
        self.at += size
        return self.data[self.at - size : self.at]

    def node(self, digits: str = "") -> bytes:
        tag = self.take(1)[0]
        assert tag <= 4, "unknown tag"
        if tag == 0:
            return ZERO
        if tag == 1:
            digest = self.take(32)
            assert digest != ZERO, "hidden nothing"
            self.hidden.append(digits)
            return digest
        if tag == 3:
            assert len(digits) < 128, "too deep"
            return hash_of(b"\x01", *[self.node(digits + which) for which in "0123"])
        count = self.take(1)[0]
        assert 1 <= count <= 8, "bucket size"
        entries: list[tuple[bytes, bytes]] = []
        for _ in range(count):
            if tag == 2:
                entries.append((self.take(32), self.take(32)))
                continue
            key = self.take(int.from_bytes(self.take(2), "big"))
            value = self.take(int.from_bytes(self.take(4), "big"))
            entries.append((second_path(key), hash_of(b"\x11", value)))
        paths = [path for path, _ in entries]
        assert paths == sorted(set(paths)), "ascending"
        for path, digest in entries:
            assert digits_of(path).startswith(digits), "foreign bucket"
            self.shown[digits_of(path)] = digest
        return hash_of(b"\x00", *[part for entry in entries for part in entry])


def root_by_second(proof: bytes) -> tuple[bytes, Second]:
    reading = Second(proof)
    tree_hash = reading.node()
    assert reading.at == len(proof), "left over"
    return hash_of(b"\x02tanpo-state-1", tree_hash), reading


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The same proofs as the product makes them."""
    database = Database.open(
        tmp_path_factory.mktemp("tree") / "state",
        remedy="none",
        cache_bytes=1 << 20,
        write_buffer_bytes=1 << 20,
    )
    tree = StateTree.open(database, window=1, cache_records=0)
    plan = tree.begin(Height(0), STATE)
    puts: dict[bytes, bytes] = {}
    tree.stage(plan, puts, [])
    database.write(puts, [])
    proofs = {
        "inclusion of k0": prove_keys(tree.source, Height(0), [b"k0"]),
        "absence of k20": prove_keys(tree.source, Height(0), [b"k20"]),
        "k0, k7, k19 and no k99": prove_keys(tree.source, Height(0), [b"k0", b"k7", b"k19", b"k99"]),
        "first quarter of the paths": prove_ranges(tree.source, Height(0), [QUARTER]),
        "group g": prove_group(tree.source, Height(0), b"g"),
        "nothing": prove_keys(tree.source, Height(0), []),
    }
    tree.close()
    database.close()
    return proofs


def test_every_kind_has_its_golden_bytes(made: dict[str, bytes]) -> None:
    assert {name: proof.hex() for name, proof in made.items()} == GOLDEN["proofs"]


@pytest.mark.parametrize("name", GOLDEN["proofs"])
def test_both_implementations_read_the_same(name: str) -> None:
    proof, root = bytes.fromhex(GOLDEN["proofs"][name]), StateRoot(bytes.fromhex(GOLDEN["state_root"]))
    found, second = root_by_second(proof)
    tree = verify_partial_tree(proof, root)
    assert found == root
    assert {digits_of(path): digest for path, digest in tree.entries.items()} == second.shown
    assert [(r.start, r.stop) for r in tree.hidden] == [
        (int(digits or "0", 4) << 256 - 2 * len(digits), (int(digits or "0", 4) + 1) << 256 - 2 * len(digits))
        for digits in second.hidden
    ]


def test_pairs_stand_for_the_bucket_they_make() -> None:
    pairs = sorted(list(STATE.items())[:3], key=lambda pair: second_path(pair[0]))
    body = b"".join(
        len(key).to_bytes(2, "big") + key + len(value).to_bytes(4, "big") + value for key, value in pairs
    )
    proof = bytes((4, len(pairs))) + body
    root, second = root_by_second(proof)
    tree = verify_partial_tree(proof, StateRoot(root))
    assert proof.hex() == GOLDEN["pairs"]
    assert dict(tree.pairs) == dict(pairs)
    assert {digits_of(path): digest for path, digest in tree.entries.items()} == second.shown


@pytest.mark.parametrize("name", GOLDEN["refused"])
def test_both_implementations_refuse(name: str) -> None:
    """Each is refused for its own sake: its root is the one that it leads to, where it leads to one."""
    case = GOLDEN["refused"][name]
    proof = bytes.fromhex(case["proof"])
    with pytest.raises(AssertionError, match=case["second"]):
        root_by_second(proof)
    with pytest.raises(PeerFault, match=case["says"]):
        verify_partial_tree(proof, StateRoot(bytes.fromhex(GOLDEN["state_root"])))
