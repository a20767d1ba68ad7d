"""Backups hold a ledger as it was after one block, are written whole, checked whole and restored whole."""

from __future__ import annotations

import os
import random
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
from tanpo.ledger.errors import CorruptState, LedgerError, Reason, Unavailable, UsageError
from tanpo.ledger.keys import PrivateKey
from tanpo.ledger.types import Epoch, Height, NetworkId
from tanpo.node.auditing import audit_node
from tanpo.node.backups import BackupSource, copy_node, open_stopped, write_backup
from tanpo.node.config import ExecutionMode
from tanpo.node.inspecting import inspect_backup
from tanpo.node.promises import Promises, create_promises
from tanpo.node.rebuilding import rebuild_state
from tanpo.node.replaying import Watch
from tanpo.node.restoring import Restoration, restore_backup
from tanpo.storage.backup import BackupReader, Manifest
from tanpo.storage.copying import ROWS_NAME, RowReader, encode_row
from tanpo.storage.sealing import SealedFile
from tanpo.testing.chain import Chain, open_copy

PASSPHRASE = b"correct horse battery"
NOTES = """
notes: Map[str, str]

@entry
def write(name: str, text: str) -> None:
    notes[name] = text
"""


@pytest.fixture
def chain(tmp_path: Path) -> Iterator[Chain]:
    """A running node with some state and evidence."""
    chain = Chain(tmp_path / "data")
    chain.install("notes", NOTES)
    write_notes(chain, "first")
    (chain.folder / "evidence").mkdir()
    (chain.folder / "evidence" / "0-1-double-vote").write_bytes(b"proof")
    yield chain
    chain.close()


def write_notes(chain: Chain, name: str) -> None:
    for number in range(3):
        call = {"name": f"{name}-{number}", "text": "x" * 100}
        chain.run(chain.make_transaction("notes", "write", call, "dealer-a"))


def copy(chain: Chain) -> BackupSource:
    return copy_node(
        chain.execution.store, chain.genesis, chain.folder, member="dealer-a", node="n1", epoch=Epoch(0)
    )


def find_key(chain: Chain) -> PrivateKey:
    """Return the key that the node signs with."""
    (validator,) = (one for one in chain.genesis.validators if one.member == "dealer-a")
    return chain.validator_keys[validator.public_key]


def back_up(chain: Chain, path: Path, *, passphrase: bytes | None = None) -> Manifest:
    source = copy(chain)
    return write_backup(path, source.origin, source.parts, passphrase=passphrase, created_ms=1)


def inspect(path: Path, network_id: NetworkId | None = None, *, passphrase: bytes | None = None) -> Manifest:
    reader = BackupReader(SealedFile(path=path, passphrase=passphrase))
    return inspect_backup(reader, str(path), network_id=network_id)


def restore(chain: Chain, path: Path, data: Path, *, passphrase: bytes | None = None) -> Manifest:
    return restore_backup(
        SealedFile(path=path, passphrase=passphrase),
        Restoration(data_dir=data, network_id=chain.genesis.network_id, signing_key=find_key(chain)),
    )


@pytest.mark.parametrize("passphrase", [None, PASSPHRASE])
def test_a_running_node_is_backed_up_as_it_was_at_one_block(
    chain: Chain, tmp_path: Path, passphrase: bytes | None
) -> None:
    source = copy(chain)
    store = chain.execution.store
    height, root = store.executed_height, store.state_root
    # It goes on while the parts are read, so far that past roots are pruned and the last segment grows.
    parts = iter(source.parts)
    first = [next(parts)]
    write_notes(chain, "second")
    path = tmp_path / "backup"

    def rest() -> Iterator[tuple[str, bytes]]:
        yield from first
        yield from parts

    made = write_backup(path, source.origin, rest(), passphrase=passphrase, created_ms=7)
    assert inspect(path, chain.genesis.network_id, passphrase=passphrase) == made
    assert (made.origin.height, made.origin.state_root) == (height, root.hex())
    assert (b"notes" in path.read_bytes()) == (passphrase is None)
    assert restore(chain, path, tmp_path / "new", passphrase=passphrase) == made
    assert (tmp_path / "new" / "evidence" / "0-1-double-vote").read_bytes() == b"proof"
    restored = open_copy(chain, tmp_path / "new")
    assert (restored.execution.store.executed_height, restored.execution.store.state_root) == (height, root)
    assert restored.execution.store.rolled_back_from is None
    restored.run()
    restored.close()
    audit = audit_node(tmp_path / "new", chain.genesis, ExecutionMode.IN_PROCESS, Watch(lambda _: None))
    assert (audit.difference, audit.height) == (None, height + 1)


def test_a_stopped_node_is_backed_up_and_a_running_one_refused(chain: Chain, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught, open_stopped(chain.folder, chain.genesis, "dealer-a", "n1"):
        pass
    assert caught.value.reason is Reason.DATA_LOCKED
    chain.close()
    with open_stopped(chain.folder, chain.genesis, "dealer-a", "n1") as source:
        made = write_backup(tmp_path / "backup", source.origin, source.parts, passphrase=None, created_ms=1)
    assert inspect(tmp_path / "backup") == made
    with (
        pytest.raises(UsageError) as caught,
        open_stopped(tmp_path / "nothing", chain.genesis, "dealer-a", "n1"),
    ):
        pass
    assert caught.value.reason is Reason.NOT_FOUND


def test_a_backup_is_never_overwritten_and_never_half_there(chain: Chain, tmp_path: Path) -> None:
    path = tmp_path / "backup"
    source = copy(chain)

    def broken() -> Iterator[tuple[str, bytes]]:
        yield next(source.parts)
        raise OSError(5, "the disk went away")

    with pytest.raises(CorruptState):
        write_backup(path, source.origin, broken(), passphrase=None, created_ms=1)
    assert list(tmp_path.glob("backup*")) == []
    back_up(chain, path)
    kept = path.read_bytes()
    with pytest.raises(UsageError, match="exists already"):
        back_up(chain, path)
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (kept, 0o600)
    assert list(tmp_path.glob("backup*")) == [path]


def test_a_restored_validator_has_amnesia_until_it_rejoins(chain: Chain, tmp_path: Path) -> None:
    back_up(chain, tmp_path / "backup")
    data = tmp_path / "new"
    restore(chain, tmp_path / "backup", data)
    key = find_key(chain)
    promises = Promises.open(data, may_rejoin=False, key=key)
    assert promises.has_forgotten
    promises.close()
    with pytest.raises(UsageError, match="is lost, as a mark says"):
        create_promises(chain.genesis, data, key.public_key.encoded)
    # Promises of the time of the backup are no better than none.
    create_promises(chain.genesis, tmp_path / "older")
    (tmp_path / "older" / "consensus" / "live").rename(data / "consensus" / "live")
    promises = Promises.open(data, may_rejoin=False, key=key)
    assert promises.has_forgotten
    promises.close()


def test_a_backup_of_the_genesis_alone_leaves_amnesia_too(tmp_path: Path) -> None:
    chain = Chain(tmp_path / "data")
    back_up(chain, tmp_path / "backup")
    restore(chain, tmp_path / "backup", tmp_path / "new")
    chain.close()
    with pytest.raises(UsageError, match="is lost, as a mark says"):
        create_promises(chain.genesis, tmp_path / "new", find_key(chain).public_key.encoded)


def test_a_restore_is_refused_where_it_would_do_harm(chain: Chain, tmp_path: Path) -> None:
    path = tmp_path / "backup"
    back_up(chain, path)
    full = tmp_path / "full"
    (full / "consensus").mkdir(parents=True)
    with pytest.raises(UsageError, match="is not empty") as caught:
        restore(chain, path, full)
    assert caught.value.value == "consensus"
    other = Chain(tmp_path / "other")
    other.close()
    with pytest.raises(UsageError) as caught:
        restore(other, path, tmp_path / "new")
    assert caught.value.reason is Reason.GENESIS_MISMATCH
    assert [one.name for one in (tmp_path / "new").iterdir()] == ["lock"]
    with pytest.raises(UsageError) as caught:
        inspect(path, other.genesis.network_id)
    assert caught.value.reason is Reason.GENESIS_MISMATCH


def test_what_a_killed_restore_left_is_replaced(chain: Chain, tmp_path: Path) -> None:
    back_up(chain, tmp_path / "backup")
    (tmp_path / "new" / "restoring" / "blocks").mkdir(parents=True)
    assert restore(chain, tmp_path / "backup", tmp_path / "new").origin.height > 0
    assert not (tmp_path / "new" / "restoring").exists()


@pytest.mark.parametrize("seed", range(12))
def test_a_damaged_backup_is_found_and_leaves_nothing(chain: Chain, tmp_path: Path, seed: int) -> None:
    path = tmp_path / "backup"
    back_up(chain, path)
    where = random.Random(seed)
    if seed % 3 == 0:
        os.truncate(path, where.randrange(path.stat().st_size))
    else:
        content = bytearray(path.read_bytes())
        content[where.randrange(len(content))] ^= 1 << where.randrange(8)
        path.write_bytes(content)
    with pytest.raises(LedgerError):
        inspect(path)
    with pytest.raises(LedgerError):
        restore(chain, path, tmp_path / "new")
    assert [one.name for one in (tmp_path / "new").iterdir()] == ["lock"]


def drop_a_row(rows: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    position = next(index for index, (key, _) in enumerate(rows) if key[:1] == b"S")
    return rows[:position] + rows[position + 1 :]


def exchange_rows(rows: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    return [rows[1], rows[0], *rows[2:]]


def change_a_value(rows: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    return [(key, value + b"x" if key[:1] == b"E" else value) for key, value in rows]


def drop_the_tip(rows: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    return [(key, value) for key, value in rows if key != b"Xtip"]


@pytest.mark.parametrize("change", [drop_a_row, exchange_rows, change_a_value, drop_the_tip])
def test_a_backup_with_right_checksums_and_a_wrong_state_is_refused(
    chain: Chain, tmp_path: Path, change: Callable[[list[tuple[bytes, bytes]]], list[tuple[bytes, bytes]]]
) -> None:
    source = copy(chain)
    reader = RowReader()

    def forge() -> Iterator[tuple[str, bytes]]:
        rows = []
        for name, data in source.parts:
            if name == ROWS_NAME:
                rows += list(reader.feed(data))
                continue
            if rows:
                yield ROWS_NAME, b"".join(encode_row(*row) for row in change(rows))
                rows = []
            yield name, data

    write_backup(tmp_path / "backup", source.origin, forge(), passphrase=None, created_ms=1)
    with pytest.raises(CorruptState, match="is no sound backup"):
        inspect(tmp_path / "backup")


@pytest.mark.parametrize("field", ["height", "block_hash", "state_root", "receipts_root", "network_id"])
def test_a_manifest_that_says_otherwise_is_refused(chain: Chain, tmp_path: Path, field: str) -> None:
    source = copy(chain)
    wrong = 1 if field == "height" else sha256(b"wrong").hexdigest()
    origin = replace(source.origin, **{field: wrong})  # type: ignore[arg-type]  # each by its name
    write_backup(tmp_path / "backup", origin, source.parts, passphrase=None, created_ms=1)
    with pytest.raises(CorruptState, match="is no sound backup"):
        inspect(tmp_path / "backup")


def test_a_backup_whose_last_block_is_missing_is_refused(chain: Chain, tmp_path: Path) -> None:
    source = copy(chain)
    store = chain.execution.store
    ((path, end),) = store.segments.list_ends(Height(store.executed_height - 1))

    def shorten() -> Iterator[tuple[str, bytes]]:
        for name, data in source.parts:
            yield name, data[:end] if name.endswith(path.name) else data

    write_backup(tmp_path / "backup", source.origin, shorten(), passphrase=None, created_ms=1)
    with pytest.raises(CorruptState, match="height of the last block"):
        inspect(tmp_path / "backup")


@contextmanager
def limited_disk(room_bytes: int) -> Iterator[None]:
    """Let the kernel refuse files beyond a size, as a full disk or a quota does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("room_bytes", [10, 10_000])
def test_a_backup_that_does_not_fit_is_not_there(chain: Chain, tmp_path: Path, room_bytes: int) -> None:
    path = tmp_path / "backup"
    with limited_disk(room_bytes), pytest.raises(Unavailable) as caught:
        back_up(chain, path)
    assert (caught.value.reason, list(tmp_path.glob("backup*"))) == (Reason.DISK_FULL, [])
    back_up(chain, path)
    inspect(path)


@pytest.mark.parametrize("room_bytes", [100, 10_000])
def test_a_restore_that_does_not_fit_leaves_nothing(chain: Chain, tmp_path: Path, room_bytes: int) -> None:
    path, data = tmp_path / "backup", tmp_path / "new"
    back_up(chain, path)
    with limited_disk(room_bytes), pytest.raises(Unavailable) as caught:
        restore(chain, path, data)
    assert caught.value.reason is Reason.DISK_FULL
    assert [one.name for one in data.iterdir()] == ["lock"]
    restore(chain, path, data)


@pytest.mark.parametrize("room_bytes", [100, 10_000])
def test_a_rebuild_that_does_not_fit_changes_nothing_and_goes_on(chain: Chain, room_bytes: int) -> None:
    chain.close()
    before = {path: path.read_bytes() for path in (chain.folder / "state").iterdir()}
    quiet = Watch(lambda _: None)
    with limited_disk(room_bytes), pytest.raises(Unavailable) as caught:
        rebuild_state(chain.folder, chain.genesis, ExecutionMode.IN_PROCESS, quiet)
    assert caught.value.reason is Reason.DISK_FULL
    assert {path: path.read_bytes() for path in (chain.folder / "state").iterdir()} == before
    assert rebuild_state(chain.folder, chain.genesis, ExecutionMode.IN_PROCESS, quiet).height > 0
