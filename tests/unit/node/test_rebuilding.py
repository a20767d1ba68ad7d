"""The state is made anew from the blocks, which stay as they are; what cannot be is named."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from tanpo.ledger.block import Block, Header, decode_block, encode_block
from tanpo.ledger.errors import CorruptState, Reason, UsageError
from tanpo.ledger.types import Height, MerkleRoot, StateRoot
from tanpo.node.config import ExecutionMode
from tanpo.node.rebuilding import rebuild_state
from tanpo.node.replaying import Diverged, Progress, Watch, catch_up
from tanpo.node.scratch import Replayed
from tanpo.node.stopping import Stopped, StopRequest
from tanpo.storage import SafetyStore, StoredBlock
from tanpo.storage.segments import BlockSegments
from tanpo.testing.chain import Chain, open_copy

BLOCKS = 8


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """A chain of a few blocks whose node is stopped, and its promises."""
    chain = Chain(tmp_path_factory.mktemp("grown") / "data")
    for _ in range(BLOCKS):
        chain.run()
    chain.close()
    SafetyStore.create(chain.folder / "consensus")
    return chain


@pytest.fixture
def data(grown: Chain, tmp_path: Path) -> Path:
    """A copy of its files, to be harmed."""
    return Path(shutil.copytree(grown.folder, tmp_path / "data"))


def rebuild(chain: Chain, data: Path, watch: Watch | None = None) -> Replayed:
    quiet = Watch(lambda _: None)
    return rebuild_state(data, chain.genesis, ExecutionMode.IN_PROCESS, watch or quiet)


def read_files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def rewrite(chain: Chain, data: Path, height: int, change: Callable[[Header], Header]) -> None:
    """Store other blocks from a height on: a chain of its own, as whoever writes wrong blocks would."""
    network_id = chain.genesis.network_id
    blocks = data / "blocks"
    old = BlockSegments.open(blocks, network_id=network_id, synced=Height(BLOCKS), is_read_only=True)
    stored = [old.read(Height(number)) for number in range(1, old.height + 1)]
    old.close()
    shutil.rmtree(blocks)
    new = BlockSegments.open(blocks, network_id=network_id, synced=Height(0))
    parent = None
    for one in stored:
        block = decode_block(one.block)
        header = block.header if parent is None else replace(block.header, parent_hash=parent.block_hash)
        if one.height == height:
            header = change(header)
        if header != block.header:
            block = parent = Block.create(header, block.envelopes, block.evidence)
        new.append(
            StoredBlock(
                height=one.height, block_hash=block.block_hash, block=encode_block(block), proof=one.proof
            )
        )
    new.close()


def test_a_lost_state_is_made_again_as_it_was(grown: Chain, data: Path) -> None:
    kept = read_files(data / "blocks") | read_files(data / "consensus")
    shutil.rmtree(data / "state")
    told: list[Progress] = []
    done = rebuild(grown, data, Watch(told.append))
    assert (done.height, done.began_at) == (BLOCKS, 0)
    assert [(one.height, one.target) for one in (told[0], told[-1])] == [(0, BLOCKS), (BLOCKS, BLOCKS)]
    assert read_files(data / "blocks") | read_files(data / "consensus") == kept
    assert sorted(path.name for path in data.iterdir()) == [
        "blocks", "consensus", "guard", "lock", "network", "state",
    ]  # fmt: skip
    node = open_copy(grown, data)
    assert node.execution.store.state_root == done.state_root
    assert node.execution.store.get_receipts(Height(BLOCKS)) == ()
    assert node.execution.store.rolled_back_from is None
    node.close()


def test_a_node_tells_that_its_state_came_up_behind_what_was_written(grown: Chain, data: Path) -> None:
    with capture_logs() as told:
        open_copy(grown, data).close()
    assert told == []
    shutil.rmtree(data / "state")
    with capture_logs() as told:
        open_copy(grown, data).close()
    behind = [entry for entry in told if entry["log_level"] == "warning"]
    assert [(entry["height"], entry["was"]) for entry in behind] == [(0, BLOCKS)]


def test_a_damaged_state_is_replaced(grown: Chain, data: Path) -> None:
    for path in (data / "state").iterdir():
        if path.name != "LOCK":
            path.write_bytes(b"x" + path.read_bytes()[:-1])
    assert rebuild(grown, data).height == BLOCKS
    open_copy(grown, data).close()


class _StopAt:
    """Asks for the end when a block is committed."""

    def __init__(self, height: int) -> None:
        self.stop = StopRequest()
        self.height = height

    def __call__(self, progress: Progress) -> None:
        self.stop.is_asked = progress.height >= self.height


def test_an_interrupted_rebuild_changes_nothing_and_goes_on(grown: Chain, data: Path) -> None:
    kept = read_files(data / "state")
    stop = _StopAt(3)
    with pytest.raises(Stopped):
        rebuild(grown, data, Watch(stop, stop.stop, interval_s=0))
    assert read_files(data / "state") == kept
    done = rebuild(grown, data)
    assert (done.began_at, done.height) == (3, BLOCKS)
    open_copy(grown, data).close()


def test_a_rebuild_whose_own_files_are_damaged_begins_anew(grown: Chain, data: Path) -> None:
    stop = _StopAt(3)
    with pytest.raises(Stopped):
        rebuild(grown, data, Watch(stop, stop.stop, interval_s=0))
    (data / "rebuild" / "state" / "CURRENT").write_bytes(b"nonsense")
    assert rebuild(grown, data).began_at == 0


def test_a_start_that_executes_blocks_again_is_interrupted_and_goes_on(grown: Chain, data: Path) -> None:
    shutil.rmtree(data / "state")
    node = open_copy(grown, data, is_behind=True)
    stop = _StopAt(2)
    with pytest.raises(Stopped):
        catch_up(node.execution, grown.genesis.network_id, Watch(stop, stop.stop, interval_s=0))
    node.close()
    node = open_copy(grown, data, is_behind=True)
    assert node.execution.store.executed_height == 2
    catch_up(node.execution, grown.genesis.network_id)
    assert node.execution.store.executed_height == BLOCKS
    node.close()


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("state root before it", lambda header: replace(header, state_root=StateRoot(b"s" * 32))),
        ("receipts root before it", lambda header: replace(header, receipts_root=MerkleRoot(b"r" * 32))),
        ("parent hash", lambda header: replace(header, parent_hash=bytes(32))),
        ("height", lambda header: replace(header, height=Height(6))),
    ],
)
def test_a_wrong_root_is_named_with_its_height_and_file(
    grown: Chain, data: Path, part: str, change: Callable[[Header], Header]
) -> None:
    rewrite(grown, data, 5, change)
    kept = read_files(data / "state")
    with pytest.raises(Diverged) as caught:
        rebuild(grown, data)
    assert (caught.value.height, caught.value.part) == (5, part)
    assert str(data / "blocks" / "000000000001.blocks") in caught.value.message
    assert caught.value.remedy
    assert read_files(data / "state") == kept


def test_a_damaged_block_is_named_and_the_old_state_stays(grown: Chain, data: Path) -> None:
    (segment,) = (data / "blocks").iterdir()
    content = bytearray(segment.read_bytes())
    content[len(content) // 2] ^= 1
    segment.write_bytes(content)
    kept = read_files(data / "state")
    with pytest.raises(CorruptState) as caught:
        rebuild(grown, data)
    assert str(segment) in caught.value.message
    assert "put in their place" in caught.value.remedy
    assert (read_files(data / "state"), segment.read_bytes()) == (kept, bytes(content))


def test_blocks_that_are_missing_at_the_end_are_noticed(grown: Chain, data: Path) -> None:
    (segment,) = (data / "blocks").iterdir()
    os.truncate(segment, segment.stat().st_size - 1)
    size = segment.stat().st_size
    with pytest.raises(CorruptState, match=f"but block {BLOCKS} was stored"):
        rebuild(grown, data)
    assert segment.stat().st_size == size


def test_a_torn_record_that_was_never_acknowledged_is_left_to_the_next_start(
    grown: Chain, data: Path
) -> None:
    (segment,) = (data / "blocks").iterdir()
    with segment.open("ab") as file:
        file.write(b"TBLK" + bytes(20))
    size = segment.stat().st_size
    assert rebuild(grown, data).height == BLOCKS
    assert segment.stat().st_size == size


def test_a_rebuild_is_refused_where_it_would_do_harm(grown: Chain, data: Path, tmp_path: Path) -> None:
    node = open_copy(grown, data)
    with pytest.raises(UsageError) as caught:
        rebuild(grown, data)
    assert caught.value.reason is Reason.DATA_LOCKED
    node.close()
    other = Chain(tmp_path / "other")
    other.close()
    with pytest.raises(UsageError) as caught:
        rebuild(other, data)
    assert caught.value.reason is Reason.GENESIS_MISMATCH
    with pytest.raises(UsageError) as caught:
        rebuild(grown, tmp_path / "nothing")
    assert caught.value.reason is Reason.NOT_FOUND
    assert not (tmp_path / "nothing").exists()
    (data / "guard").unlink()
    with pytest.raises(CorruptState, match="neither slot verifies"):
        rebuild(grown, data)
