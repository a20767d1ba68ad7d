"""A node that was pruned is restarted, backed up, restored and made anew like any other."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tanpo.ledger.errors import CorruptState, LedgerError, Reason
from tanpo.ledger.genesis import Genesis
from tanpo.ledger.types import Epoch, Height
from tanpo.node.backups import copy_node, write_backup
from tanpo.node.config import ExecutionMode
from tanpo.node.inspecting import inspect_backup
from tanpo.node.rebuilding import rebuild_state
from tanpo.node.replaying import Watch
from tanpo.node.restoring import Restoration, restore_backup
from tanpo.storage import LedgerStore
from tanpo.storage.backup import BackupReader
from tanpo.storage.beginning import BEGINNING_KEY
from tanpo.storage.database import seal
from tanpo.storage.pruning import Passing
from tanpo.storage.sealing import SealedFile
from tanpo.testing.chain import Chain, open_copy

BLOCKS = 12


@pytest.fixture
def chain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Chain]:
    """A node with a few blocks in each file."""
    monkeypatch.setitem(LedgerStore.open.__func__.__kwdefaults__, "segment_bytes", 2_000)  # type: ignore[attr-defined]  # a classmethod
    chain = Chain(tmp_path / "data")
    for _ in range(BLOCKS):
        chain.run()
    yield chain
    chain.close()


def prune(chain: Chain, height: int) -> None:
    passing = Passing(height=Height(height), tx_ids=(), request_digests=())
    chain.execution.store.pruner.advance(passing)


def first_file(chain: Chain) -> int:
    return min(int(path.stem) for path in (chain.folder / "blocks").iterdir())


def back_up(chain: Chain, path: Path) -> None:
    store = chain.execution.store
    source = copy_node(store, chain.genesis, chain.folder, member="dealer-a", node="n1", epoch=Epoch(0))
    write_backup(path, source.origin, source.parts, passphrase=None, created_ms=1)


def inspect(path: Path, genesis: Genesis) -> int:
    sealed = SealedFile(path=path, passphrase=None)
    return inspect_backup(BackupReader(sealed), str(path), network_id=genesis.network_id).origin.height


def open_restored(chain: Chain, folder: Path) -> Chain:
    """Restore the backup in a folder beside it, and open what was restored."""
    restored = folder / "restored"
    restore_backup(
        SealedFile(path=folder / "backup", passphrase=None),
        Restoration(data_dir=restored, network_id=chain.genesis.network_id, signing_key=None, keys_dir=None),
    )
    return open_copy(chain, restored)


@pytest.mark.parametrize("height", [2, 9, BLOCKS])
def test_a_pruned_node_is_backed_up_and_restored(chain: Chain, tmp_path: Path, height: int) -> None:
    prune(chain, height)
    assert (first_file(chain) > 1) == (height > 2)
    back_up(chain, tmp_path / "backup")
    assert inspect(tmp_path / "backup", chain.genesis) == BLOCKS
    other = open_restored(chain, tmp_path)
    store = other.execution.store
    assert store.executed == chain.execution.store.executed
    assert store.beginning.first_answered == height + 1
    with pytest.raises(LedgerError) as refusal:
        store.get_receipts(Height(height))
    assert refusal.value.reason is Reason.HEIGHT_PRUNED
    other.run()
    other.close()


def damage_block(chain: Chain, height: int, at: int) -> None:
    """Flip a bit of a stored block, so far behind the beginning of its record."""
    segments = chain.execution.store.segments
    path = segments.find_path(Height(height))
    segments.read_hash(Height(height))
    segment = segments._indexed[int(path.stem)]
    content = bytearray(path.read_bytes())
    content[segment.offsets[height - segment.first] + at] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("at", [0, 20, 200], ids=["mark", "head", "block"])
@pytest.mark.parametrize("heights", [(8,), (7, 8), (3,), (1, 2, 6)], ids=str)
def test_a_backup_may_hold_damaged_blocks_that_its_ledger_has_forgotten(
    chain: Chain, tmp_path: Path, heights: tuple[int, ...], at: int
) -> None:
    chain.execution.store.segments.hold()  # The files stay, as while another copy is made.
    for height in heights:
        damage_block(chain, height, at)
    prune(chain, 9)
    assert first_file(chain) == 1
    back_up(chain, tmp_path / "backup")
    other = open_restored(chain, tmp_path)
    store = other.execution.store
    assert store.executed == chain.execution.store.executed
    for height in range(9, BLOCKS + 1):
        assert store.read_block(Height(height)) == chain.execution.store.read_block(Height(height))
    other.run()
    other.close()


@pytest.mark.parametrize("at", [0, 20, 200], ids=["mark", "head", "block"])
@pytest.mark.parametrize("height", [9, 10, BLOCKS])
def test_a_backup_with_a_damaged_block_that_is_needed_is_refused(
    chain: Chain, tmp_path: Path, height: int, at: int
) -> None:
    prune(chain, 9)
    damage_block(chain, height, at)
    back_up(chain, tmp_path / "backup")
    with pytest.raises(CorruptState, match=f"block {height} is damaged"):
        inspect(tmp_path / "backup", chain.genesis)


def test_a_backup_whose_blocks_do_not_reach_back_to_its_beginning_is_refused(
    chain: Chain, tmp_path: Path
) -> None:
    prune(chain, 9)
    database = chain.execution.store._database
    database.write({BEGINNING_KEY: seal(BEGINNING_KEY, (1).to_bytes(4, "big"))}, ())
    back_up(chain, tmp_path / "backup")
    with pytest.raises(CorruptState, match="its blocks begin with"):
        inspect(tmp_path / "backup", chain.genesis)


def test_a_state_that_is_lost_comes_back_while_the_blocks_are_there(chain: Chain) -> None:
    """Files go as a whole: as long as the first one is there, the chain is executed from genesis."""
    prune(chain, 2)
    executed = chain.execution.store.executed
    chain.close()
    shutil.rmtree(chain.folder / "state")
    replayed = rebuild_state(
        chain.folder, chain.genesis, ExecutionMode.IN_PROCESS, Watch(lambda _progress: None)
    )
    assert replayed.state_root == executed.state_root
    chain.execution = chain._open()
    store = chain.execution.store
    assert (store.executed, store.beginning.height) == (executed, 0)
    prune(chain, 9)


def test_a_state_that_is_lost_with_the_blocks_before_it_names_the_remedy(chain: Chain) -> None:
    prune(chain, 9)
    chain.execution.store.close()
    shutil.rmtree(chain.folder / "state")
    with pytest.raises(CorruptState, match="begins with block") as refusal:
        LedgerStore.open(chain.folder, network_id=chain.genesis.network_id)
    assert "tanpo node" in refusal.value.remedy
    assert first_file(chain) > 1
