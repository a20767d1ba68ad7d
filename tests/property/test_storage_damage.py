"""Damaged files: whatever bit flips or tail is lost, a wrong value is never returned."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tanpo.ledger.errors import CorruptState
from tanpo.ledger.types import BlockHash, Height, MerkleRoot, NetworkId, TxId
from tanpo.storage import BlockCommit, LedgerStore, SafetyImage, SafetyStore, SafetyWrite, StoredBlock, audit

NETWORK = NetworkId(bytes(32))
BLOCKS = 24
HARMLESS = ("LOG", "LOG.old", "LOCK", "lock")


def block_at(height: int) -> StoredBlock:
    return StoredBlock(
        height=Height(height),
        block_hash=BlockHash(sha256(b"%d" % height).digest()),
        block=random.Random(height).randbytes(120),
        proof=b"proof",
    )


def changes_at(height: int) -> dict[bytes, bytes | None]:
    source = random.Random(height)
    return {b"%d" % source.randrange(40): source.choice([None, b"v%d" % height]) for _ in range(10)}


def state_at(height: int) -> list[tuple[bytes, bytes]]:
    state: dict[bytes, bytes | None] = {}
    for number in range(height + 1):
        state.update(changes_at(number))
    return sorted((key, value) for key, value in state.items() if value is not None)


def open_store(path: Path) -> LedgerStore:
    return LedgerStore.open(path, network_id=NETWORK, window=5, segment_bytes=1500)


def initialise(store: LedgerStore) -> None:
    store.initialise(changes_at(0), block_hash=BlockHash(bytes(32)), receipts_root=MerkleRoot(bytes(32)))


def execute(store: LedgerStore, height: int) -> None:
    changes = changes_at(height)
    store.commit(
        BlockCommit(
            height=Height(height),
            block_hash=block_at(height).block_hash,
            changes=changes,
            plan=store.tree.begin(Height(height), changes),
            receipts=(b"receipt %d" % height,),
            receipts_root=MerkleRoot(bytes(32)),
            tx_ids=(TxId(b"tx %d" % height),),
            request_digests=(b"request %d" % height,),
            parties=(("alpha",),),
        )
    )


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger with several segments, tables and a log."""
    path = tmp_path_factory.mktemp("pristine") / "ledger"
    store = open_store(path)
    initialise(store)
    for height in range(1, BLOCKS + 1):
        store.append_block(block_at(height))
        execute(store, height)
        if height in (6, 12, 18):
            store.close()
            store = open_store(path)
    store.close()
    return path


def check_all(path: Path) -> None:
    """Every answer is right, or the damage is reported."""
    store = open_store(path)
    try:
        if not store.is_initialised:
            initialise(store)
        height = store.executed_height
        assert store.segment_height == BLOCKS
        assert store.scan(b"", b"\xff", 1000) == state_at(height)
        for number in range(1, BLOCKS + 1):
            assert store.read_block(Height(number)) == block_at(number)
        for number in range(1, height + 1):
            assert store.get_receipts(Height(number)) == (b"receipt %d" % number,)
            assert store.find_transaction(TxId(b"tx %d" % number)) == (number, 0)
            assert store.find_request(b"request %d" % number) == (number, 0)
        audit(store)
        for number in range(height + 1, BLOCKS + 1):
            execute(store, number)
        assert store.scan(b"", b"\xff", 1000) == state_at(BLOCKS)
    finally:
        store.close()


def damage(path: Path, where: random.Random, *, cut: bool) -> None:
    content = bytearray(path.read_bytes())
    if cut:
        os.truncate(path, where.randrange(len(content)))
        return
    for _ in range(where.choice([1, 1, 1, 8])):
        content[where.randrange(len(content))] ^= 1 << where.randrange(8)
    path.write_bytes(content)


def victims(path: Path) -> list[Path]:
    files = sorted(file for file in path.rglob("*") if file.is_file() and file.name not in HARMLESS)
    return [file for file in files if file.stat().st_size]


@settings(max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), cut=st.booleans())
def test_a_damaged_ledger_answers_rightly_or_reports_it(pristine: Path, seed: int, cut: bool) -> None:
    where = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "ledger"
        shutil.copytree(pristine, copy)
        damage(where.choice(victims(copy)), where, cut=cut)
        with suppress(CorruptState):
            check_all(copy)


def test_a_ledger_that_lost_a_file_answers_rightly_or_reports_it(pristine: Path, tmp_path: Path) -> None:
    for lost in victims(pristine):
        copy = tmp_path / "ledger"
        shutil.copytree(pristine, copy)
        (copy / lost.relative_to(pristine)).unlink()
        with suppress(CorruptState):
            check_all(copy)
        shutil.rmtree(copy)


def test_a_database_that_lost_its_current_is_not_taken_for_a_new_one(pristine: Path, tmp_path: Path) -> None:
    copy = tmp_path / "ledger"
    shutil.copytree(pristine, copy)
    (copy / "state" / "CURRENT").unlink()
    with pytest.raises(CorruptState, match="CURRENT is missing"):
        open_store(copy)


def make_promises(path: Path, *, reopened: bool) -> SafetyImage:
    """Make a safety store, and return what it holds."""
    SafetyStore.create(path)
    store = SafetyStore.open(path)
    for number in range(1, 8):
        store.save(SafetyWrite(record=b"r%d" % number, blocks={block_at(number).block_hash: b"b"}))
        if number == 4 and reopened:
            store.close()
            store = SafetyStore.open(path)
    image = store.load()
    store.close()
    return image


def check_promises(path: Path, expected: SafetyImage) -> None:
    """All is remembered, or the damage is reported."""
    with suppress(CorruptState):
        store = SafetyStore.open(path)
        assert store.load() == expected
        store.close()


@settings(max_examples=60)
@given(seed=st.integers(0, 2**32), cut=st.booleans(), reopened=st.booleans())
def test_a_damaged_safety_store_remembers_all_or_refuses(seed: int, cut: bool, reopened: bool) -> None:
    where = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        expected = make_promises(path, reopened=reopened)
        damage(where.choice(victims(path)), where, cut=cut)
        check_promises(path, expected)


@pytest.mark.parametrize("reopened", [False, True])
def test_a_safety_store_that_lost_a_file_remembers_all_or_refuses(tmp_path: Path, reopened: bool) -> None:
    expected = make_promises(tmp_path / "whole", reopened=reopened)
    for lost in victims(tmp_path / "whole"):
        copy = tmp_path / "copy"
        shutil.copytree(tmp_path / "whole", copy)
        (copy / lost.relative_to(tmp_path / "whole")).unlink()
        check_promises(copy, expected)
        shutil.rmtree(copy)
