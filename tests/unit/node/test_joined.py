"""A ledger that begins with a snapshot is rebuilt and audited from it, and so is one that need not be."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import plyvel
import pytest
from tanpo.ledger.errors import CorruptState, Reason, UsageError
from tanpo.ledger.receipt import decode_receipt
from tanpo.ledger.snapshotproof import decode_step, encode_step
from tanpo.ledger.types import BlockHash, Epoch, Height, TxId
from tanpo.node.auditing import Audit, audit_node
from tanpo.node.backups import open_stopped, write_backup
from tanpo.node.config import ExecutionMode
from tanpo.node.inspecting import inspect_backup
from tanpo.node.rebuilding import rebuild_state
from tanpo.node.replaying import Diverged, Progress, Watch
from tanpo.node.restoring import Restoration, restore_backup
from tanpo.node.scratch import Replayed
from tanpo.node.stopping import Stopped, StopRequest
from tanpo.storage.backup import BackupReader
from tanpo.storage.beginning import BEGINNING_KEY
from tanpo.storage.copying import ROWS_NAME, RowReader, encode_row
from tanpo.storage.database import seal
from tanpo.storage.kept import find_kept, seal_file
from tanpo.storage.layout import encode_position, encode_receipts, executed_key, receipts_key, tx_key
from tanpo.storage.ledger_store import read_rows
from tanpo.storage.sealing import SealedFile
from tanpo.storage.segments import BlockSegments
from tanpo.storage.snapshot_building import read_height
from tanpo.testing.chain import Chain, change_validators, open_copy
from tanpo.testing.joined import follow, join_by, take_snapshot

NOTES = """
notes: Map[str, str]

@entry
def write(name: str, text: str) -> str:
    notes[name] = text
    return text
"""
LINK = b"L" + bytes(4)


@dataclass(frozen=True)
class Grown:
    """A stopped node that holds a chain of two epochs, and one that joined it at `height`."""

    chain: Chain
    joined: Path
    height: Height
    tip: Height


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Grown:
    folder = tmp_path_factory.mktemp("grown")
    chain = Chain(folder / "full", has_validators=True)
    chain.install("notes", NOTES)

    def write(count: int) -> None:
        for number in range(count):
            arguments = {"name": f"note-{number}", "text": "t" * 500}
            chain.run(chain.make_transaction("notes", "write", arguments, "dealer-a"))

    write(30)
    first, *others = chain.genesis.validators
    change_validators(chain, *others, replace(first, node="another"))
    height = take_snapshot(chain)
    assert join_by(chain, folder / "joined").height == height
    write(3)
    node = follow(chain, folder / "joined")
    tip = chain.execution.store.executed_height
    assert node.execution.store.beginning.height == height
    assert node.execution.store.beginning.find_link(Epoch(0)) is not None
    node.close()
    chain.close()
    return Grown(chain, folder / "joined", height, tip)


@pytest.fixture
def full(grown: Grown, tmp_path: Path) -> Path:
    """A copy of the whole node's files, to be harmed."""
    return Path(shutil.copytree(grown.chain.folder, tmp_path / "full"))


@pytest.fixture
def data(grown: Grown, tmp_path: Path) -> Path:
    """A copy of the joined node's files, to be harmed."""
    return Path(shutil.copytree(grown.joined, tmp_path / "data"))


QUIET = Watch(lambda _: None)


def audit(grown: Grown, data: Path, *, from_snapshot: str = "", watch: Watch = QUIET) -> Audit:
    mode = ExecutionMode.IN_PROCESS
    return audit_node(data, grown.chain.genesis, mode, watch, from_snapshot=from_snapshot)


def rebuild(grown: Grown, data: Path, watch: Watch = QUIET, *, from_snapshot: str = "") -> Replayed:
    mode = ExecutionMode.IN_PROCESS
    return rebuild_state(data, grown.chain.genesis, mode, watch, from_snapshot=from_snapshot)


def read_all(grown: Grown, data: Path) -> list[tuple[bytes, bytes]]:
    node = open_copy(grown.chain, data)
    rows = list(read_rows(node.execution.store))
    node.close()
    return rows


def overwrite(data: Path, key: bytes, payload: bytes | None) -> None:
    """Put another value with a right checksum into the database, or take one out."""
    database = plyvel.DB(str(data / "state"), bloom_filter_bits=10)
    assert database.get(key) is not None
    if payload is None:
        database.delete(key)
    else:
        database.put(key, seal(key, payload))
    database.close()


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


class _Interrupted:
    """Asks for the end at a height, or with the first chunk."""

    def __init__(self, unit: str, height: int) -> None:
        self.stop = StopRequest()
        self.seen: list[Progress] = []
        self.place = (unit, height)

    def __call__(self, progress: Progress) -> None:
        self.seen.append(progress)
        self.stop.is_asked = (progress.unit, progress.height) == self.place

    @property
    def watch(self) -> Watch:
        return Watch(self, self.stop, interval_s=0)


def test_a_sound_joined_node_is_equal_from_its_beginning_on(grown: Grown, data: Path) -> None:
    found = audit(grown, data)
    assert found.difference is None
    assert (found.began_with, found.height, found.proved_height) == (grown.height, grown.tip, grown.tip)
    assert found.stored_height == grown.tip
    assert not (data / "audit").exists()
    chain_only = audit_node(data, grown.chain.genesis, ExecutionMode.IN_PROCESS, QUIET, is_chain_only=True)
    assert (chain_only.began_with, chain_only.difference) == (grown.height, None)


@pytest.mark.parametrize(
    "part", ["receipt 0", "position", "hash", "the state", "proof of the end of epoch 0"]
)
def test_what_a_joined_node_stores_otherwise_is_named(grown: Grown, data: Path, part: str) -> None:
    node = open_copy(grown.chain, data)
    store = node.execution.store
    receipt, *_ = store.get_receipts(grown.tip)
    executed = store.executed
    link = store.beginning.find_link(Epoch(0))
    row = next(key for key, _ in read_rows(store) if key.startswith(b"S"))
    node.close()
    height = int(grown.tip)
    match part:
        case "receipt 0":
            overwrite(data, receipts_key(height), encode_receipts((receipt + b"x",)))
        case "position":
            overwrite(data, tx_key(receipt_id(receipt)), encode_position(2, 0))
        case "hash":
            height = grown.height
            overwrite(data, executed_key(height), bytes(32) + executed.state_root + executed.receipts_root)
        case "the state":
            overwrite(data, row, b"another value")
        case _:
            height = grown.height
            assert link is not None
            overwrite(data, LINK, encode_step(replace(decode_step(link), validators=())))
    found = audit(grown, data).difference
    assert found is not None
    assert found.part.startswith(part)
    assert found.height == height


def receipt_id(encoded: bytes) -> TxId:
    return TxId(decode_receipt(encoded).tx_id)


def test_the_epochs_before_the_beginning_are_compared_from_a_later_snapshot_too(
    grown: Grown, data: Path
) -> None:
    node = open_copy(grown.chain, data)
    change_validators(node, *node.genesis.validators)
    later = str(take_snapshot(node))
    node.close()
    assert audit(grown, data, from_snapshot=later).difference is None
    overwrite(data, LINK, None)
    found = audit(grown, data, from_snapshot=later).difference
    assert found is not None
    assert found.part == "proof of the end of epoch 0"


def test_an_audit_of_a_joined_node_goes_on_within_the_snapshot_and_above_it(grown: Grown, data: Path) -> None:
    first = _Interrupted("chunk", 2)
    with pytest.raises(Stopped):
        audit(grown, data, watch=first.watch)
    second = _Interrupted("block", grown.height + 1)
    with pytest.raises(Stopped):
        audit(grown, data, watch=second.watch)
    assert (second.seen[0].unit, second.seen[0].height) == ("chunk", 2)
    found = audit(grown, data)
    assert found.replayed is not None
    assert (found.replayed.began_at, found.difference) == (grown.height + 1, None)


def test_an_audit_need_not_begin_at_genesis(grown: Grown, full: Path) -> None:
    whole = audit(grown, full)
    assert (whole.began_with, whole.difference) == (0, None)
    for choice in ("oldest", str(grown.height)):
        found = audit(grown, full, from_snapshot=choice)
        assert (found.began_with, found.height, found.difference) == (grown.height, grown.tip, None)
    with pytest.raises(UsageError, match="no snapshot of this height") as refusal:
        audit(grown, full, from_snapshot="7")
    assert refusal.value.limit == str(grown.height)
    overwrite(full, receipts_key(grown.tip), encode_receipts(()))
    assert audit(grown, full, from_snapshot="oldest").difference is not None


def test_another_beginning_does_not_go_on_where_the_last_one_was(grown: Grown, full: Path) -> None:
    stop = _Interrupted("block", 3)
    with pytest.raises(Stopped):
        audit(grown, full, watch=stop.watch)
    found = audit(grown, full, from_snapshot="oldest")
    assert found.replayed is not None
    assert (found.replayed.began_at, found.difference) == (grown.height, None)


def test_the_receipts_of_the_block_that_a_snapshot_is_of_are_compared(grown: Grown, full: Path) -> None:
    overwrite(full, receipts_key(grown.height), encode_receipts((b"made up",)))
    found = audit(grown, full, from_snapshot="oldest").difference
    assert found is not None
    assert (found.height, found.part) == (grown.height, "receipts")


def test_a_snapshot_is_not_believed(grown: Grown, data: Path, full: Path) -> None:
    folder = data / "snapshots" / f"{grown.height:010d}"
    damage(folder / "c000001")
    with pytest.raises(CorruptState, match="missing or damaged") as refusal:
        audit(grown, data)
    assert str(folder) in refusal.value.remedy
    proof = full / "snapshots" / folder.name / "proof"
    content = proof.read_bytes()[32:]
    forged = content[:-40] + bytes(40)
    proof.write_bytes(sha256(forged).digest() + forged)
    with pytest.raises(CorruptState, match="not of the state that the chain has"):
        audit(grown, full, from_snapshot="oldest")


def test_a_snapshot_with_another_state_and_right_checksums_is_refused(grown: Grown, data: Path) -> None:
    folder = data / "snapshots" / f"{grown.height:010d}"
    kept = find_kept(folder)
    assert kept is not None
    forged = kept.read_chunk(1).replace(b"tttt", b"uuuu", 1)
    assert forged != kept.read_chunk(1)
    places = list(kept.manifest.chunks)
    places[1] = replace(places[1], digest=sha256(forged).digest())
    manifest = replace(kept.manifest, chunks=tuple(places))
    (folder / "c000001").write_bytes(forged)
    (folder / "manifest").write_bytes(seal_file(manifest.encoded))
    with pytest.raises(CorruptState, match="not of the state that the chain has"):
        audit(grown, data)
    with pytest.raises(CorruptState, match="not of the state that the chain has"):
        rebuild(grown, data)


def test_a_joined_state_is_made_again_as_it_was(grown: Grown, data: Path) -> None:
    before = read_all(grown, data)
    shutil.rmtree(data / "state")
    with pytest.raises(CorruptState, match="begins with block") as refusal:
        open_copy(grown.chain, data)
    assert "tanpo node rebuild" in refusal.value.remedy
    stop = _Interrupted("chunk", 2)
    with pytest.raises(Stopped):
        rebuild(grown, data, stop.watch)
    done = rebuild(grown, data)
    assert (done.began_with, done.began_at, done.height) == (grown.height, grown.height, grown.tip)
    assert read_all(grown, data) == before
    assert audit(grown, data).difference is None


def test_a_state_need_not_be_made_anew_from_genesis(grown: Grown, full: Path) -> None:
    done = rebuild(grown, full, from_snapshot="oldest")
    assert (done.began_with, done.height) == (grown.height, grown.tip)
    assert audit(grown, full).difference is None
    node = open_copy(grown.chain, full)
    assert node.execution.store.beginning.height == grown.height
    node.run()
    node.close()
    # The blocks before are there still, and so is the whole past.
    assert rebuild(grown, full).began_with == 0
    with pytest.raises(UsageError, match="no snapshot of this height"):
        rebuild(grown, full, from_snapshot="7")


def test_a_block_that_is_not_the_one_of_the_snapshot_is_named(grown: Grown, data: Path) -> None:
    network_id = grown.chain.genesis.network_id
    old = BlockSegments.open(data / "blocks", network_id=network_id, synced=grown.tip, first=grown.height)
    stored = [old.read(Height(number)) for number in range(grown.height, grown.tip + 1)]
    old.close()
    shutil.rmtree(data / "blocks")
    new = BlockSegments.open(
        data / "blocks", network_id=network_id, synced=Height(grown.height - 1), first=grown.height
    )
    for one in (replace(stored[0], block_hash=BlockHash(b"?" * 32)), *stored[1:]):
        new.append(one)
    new.close()
    with pytest.raises(Diverged) as caught:
        rebuild(grown, data)
    assert (caught.value.height, caught.value.part) == (grown.height, "hash")
    found = audit(grown, data)
    assert found.difference is not None
    assert (found.difference.height, found.difference.part) == (grown.height, "hash")


def test_blocks_from_before_the_snapshot_do_no_harm(grown: Grown, data: Path, full: Path) -> None:
    shutil.rmtree(data / "blocks")
    shutil.copytree(full / "blocks", data / "blocks")
    assert audit(grown, data).began_with == grown.height
    node = open_copy(grown.chain, data)
    node.run()
    node.close()


def test_without_its_snapshot_a_later_one_is_taken_and_without_any_the_remedy_is_told(
    grown: Grown, data: Path
) -> None:
    node = open_copy(grown.chain, data)
    later = take_snapshot(node)
    take_snapshot(node)
    take_snapshot(node)
    kept = sorted(int(path.name) for path in (data / "snapshots").iterdir())
    assert kept == [grown.height, later + 2, later + 4]
    node.close()
    shutil.rmtree(data / "snapshots" / f"{grown.height:010d}")
    shutil.rmtree(data / "state")
    assert rebuild(grown, data).began_with == later + 2
    node = open_copy(grown.chain, data)
    assert node.execution.store.beginning.height == later + 2
    with pytest.raises(UsageError) as pruned:
        node.execution.store.read_block(grown.height)
    assert pruned.value.reason is Reason.HEIGHT_PRUNED
    node.close()
    shutil.rmtree(data / "snapshots")
    with pytest.raises(UsageError, match="no snapshot to begin with") as refusal:
        rebuild(grown, data)
    assert "tanpo node join" in refusal.value.remedy
    for name in ("blocks", "state", "guard", "network"):
        (data / name).rename(data.parent / name)
    assert read_height(data) == 0
    chain = open_copy(grown.chain, grown.chain.folder)
    assert join_by(chain, data).height == grown.height
    chain.close()
    assert audit(grown, data).difference is None


def test_a_joined_node_is_backed_up_and_restored(grown: Grown, data: Path, tmp_path: Path) -> None:
    genesis, path = grown.chain.genesis, tmp_path / "backup"
    with open_stopped(data, genesis, "dealer-a", "n1") as source:
        write_backup(path, source.origin, source.parts, passphrase=None, created_ms=1)
    to = Restoration(data_dir=tmp_path / "restored", network_id=genesis.network_id, signing_key=None)
    restore_backup(SealedFile(path=path, passphrase=None), to)
    assert read_all(grown, to.data_dir) == read_all(grown, data)


def test_a_backup_whose_state_begins_elsewhere_is_refused(grown: Grown, data: Path, tmp_path: Path) -> None:
    genesis, path = grown.chain.genesis, tmp_path / "backup"
    with open_stopped(data, genesis, "dealer-a", "n1") as source:
        parts = list(source.parts)
    reader = RowReader()
    rows = [row for name, part in parts if name == ROWS_NAME for row in reader.feed(part)]
    parts = [part for part in parts if part[0] != ROWS_NAME]
    kept = b"".join(encode_row(key, value) for key, value in rows if key != BEGINNING_KEY)
    write_backup(path, source.origin, iter([*parts, (ROWS_NAME, kept)]), passphrase=None, created_ms=1)
    with pytest.raises(CorruptState, match=f"its blocks begin with {grown.height}"):
        inspect_backup(BackupReader(SealedFile(path=path, passphrase=None)), str(path))
