"""Processes that are killed in the middle of writing, that run out of disk, or that come second."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tanpo.ledger.types import BlockHash, Height
from tanpo.storage import SafetyImage, SafetyStore, audit

# What the writers write is a function of the height alone, that of `conftest.Chain`, so that the parent can
# tell what must be there. Each line on stdout is a height that has been reported durable.
LEDGER_WRITER = """
import random, sys
from hashlib import sha256
from pathlib import Path
from tanpo.ledger.errors import LedgerError
from tanpo.storage import BlockCommit, LedgerStore, StoredBlock

def run(limit_bytes=None):
    network = sha256(b"network").digest()
    store = LedgerStore.open(Path(sys.argv[1]), network_id=network, window=5, segment_bytes=2000)
    if not store.is_initialised:
        store.initialise({b"genesis": b"1"}, block_hash=network, receipts_root=bytes(32))
    if limit_bytes is not None:
        import resource
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))
    while True:
        height = store.executed_height + 1
        block_hash = sha256(b"block %d" % height).digest()
        try:
            if height > store.segment_height:
                source = random.Random(height)
                block = source.randbytes(source.randrange(200, 400))
                proof = b"proof %d" % height
                store.append_block(
                    StoredBlock(height=height, block_hash=block_hash, block=block, proof=proof)
                )
            source = random.Random(-height)
            changes = {
                b"key %d" % source.randrange(60): source.choice([None, b"value %d" % height, b""])
                for _ in range(12)
            }
            store.commit(
                BlockCommit(
                    height=height, block_hash=block_hash, changes=changes,
                    plan=store.tree.begin(height, changes), receipts=(b"receipt %d" % height, b""),
                    receipts_root=sha256(b"receipts %d" % height).digest(),
                    tx_ids=tuple(sha256(b"tx %d %d" % (height, i)).digest() for i in range(2)),
                    parties=((), ()),
                    request_digests=tuple(sha256(b"request %d %d" % (height, i)).digest() for i in range(2)),
                )
            )
        except LedgerError as error:
            return store, error
        print(height, flush=True)
"""

FULL_DISK = (
    LEDGER_WRITER
    + """
store, error = run(int(sys.argv[2]))
print(type(error).__name__, error.reason, flush=True)
for call in (lambda: store.get(b"genesis"), lambda: store.find_request(b""), lambda: store.state_root):
    try:
        call()
    except LedgerError as later:
        print(type(later).__name__, later.reason, flush=True)
"""
)

SAFETY_WRITER = """
import sys
from pathlib import Path
from tanpo.storage import SafetyStore, SafetyWrite
path = Path(sys.argv[1])
if not SafetyStore.is_present(path):
    SafetyStore.create(path)
store = SafetyStore.open(path)
number = int((store.load().record or b"0").decode())
while True:
    number += 1
    name = lambda n: n.to_bytes(32, "big")
    dropped = (name(max(0, number - 2)),)
    store.save(SafetyWrite(record=b"%d" % number, blocks={name(number): b"b"}, dropped=dropped))
    print(number, flush=True)
"""


def run_and_kill(script: str, path: Path, lines: int) -> int:
    """Start a writer, kill it after `lines` lines, and return the last number it reported durable."""
    with subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        last = 0
        for _ in range(lines):
            last = int(writer.stdout.readline())
        writer.kill()
        # What it still printed before it died counts as well.
        rest = [line for line in writer.stdout.read().split(b"\n")[:-1] if line]
        return int(rest[-1]) if rest else last


def test_a_killed_ledger_keeps_every_reported_block(chain: Any) -> None:
    chain.store.close()
    for lines in (1, 40, 3, 90, 7):
        last = run_and_kill(LEDGER_WRITER + "run()", chain.path, lines)
        store = chain.reopen()
        assert store.executed_height >= last
        assert store.segment_height - store.executed_height in (0, 1)
        assert store.rolled_back_from is None
        assert store.scan(b"", b"\xff", 1000) == sorted(chain.state_at(store.executed_height).items())
        for height in range(1, store.executed_height + 1):
            assert store.read_block(Height(height)) == chain.block(height)
            assert store.find_transaction(chain.tx_id(height, 1)) == (height, 1)
        audit(store)
        store.close()


def test_a_killed_safety_store_remembers_every_reported_write(tmp_path: Path) -> None:
    for lines in (1, 60, 4, 110, 9):
        last = run_and_kill(SAFETY_WRITER, tmp_path, lines)
        store = SafetyStore.open(tmp_path)
        image = store.load()
        number = int(image.record or b"0")
        assert number in (last, last + 1)
        kept = {BlockHash(n.to_bytes(32, "big")): b"b" for n in range(max(1, number - 1), number + 1)}
        assert image == SafetyImage(record=b"%d" % number, blocks=kept)
        store.close()


@pytest.mark.parametrize("limit_bytes", [1000, 3000, 9000, 20_000, 50_000])
def test_a_full_disk_stops_the_store_and_half_applies_nothing(chain: Any, limit_bytes: int) -> None:
    chain.store.close()
    result = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(chain.path), str(limit_bytes)],
        capture_output=True,
        text=True,
        check=True,
    )
    *heights, first, second, third, fourth = result.stdout.splitlines()
    assert first == second == third == fourth == "Unavailable DISK_FULL"
    store = chain.reopen()
    # With room again, the store is at the last block reported, or one that was written but not reported.
    assert store.executed_height in (len(heights), len(heights) + 1)
    assert store.scan(b"", b"\xff", 1000) == sorted(chain.state_at(store.executed_height).items())
    audit(store)
    if store.segment_height > store.executed_height:
        chain.execute(store.segment_height)
    chain.grow(3)


def test_a_second_process_is_told_to_use_another_folder(chain: Any) -> None:
    result = subprocess.run(
        [sys.executable, "-c", LEDGER_WRITER + "run()", str(chain.path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert "UsageError" in result.stderr
    assert "is in use by another process" in result.stderr
