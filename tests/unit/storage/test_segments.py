from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tanpo.ledger.errors import CorruptState, Reason, UsageError
from tanpo.ledger.types import Height, NetworkId
from tanpo.storage.blockfile import HEADER_BYTES, StoredBlock
from tanpo.storage.segments import BlockSegments

NETWORK = NetworkId(bytes(32))


def open_segments(folder: Path, synced: int = 0, segment_bytes: int = 1500) -> BlockSegments:
    return BlockSegments.open(folder, network_id=NETWORK, synced=Height(synced), segment_bytes=segment_bytes)


@pytest.fixture
def folder(tmp_path: Path, chain: Any) -> Path:
    """Ten blocks in several files."""
    segments = open_segments(tmp_path / "blocks")
    for height in range(1, 11):
        segments.append(chain.block(height))
    segments.close()
    return tmp_path / "blocks"


def read_all(segments: BlockSegments) -> list[StoredBlock]:
    return [segments.read(Height(height)) for height in range(1, segments.height + 1)]


def files_of(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def test_blocks_of_every_file_are_read_in_any_order(folder: Path, chain: Any) -> None:
    segments = open_segments(folder, synced=10)
    assert len(files_of(folder)) > 2
    for height in (10, 1, 5, 2, 9, 1):
        assert segments.read(Height(height)) == chain.block(height)
        assert segments.read_hash(Height(height)) == chain.block(height).block_hash
    segments.close()


def test_a_block_larger_than_a_file_has_a_file_of_its_own(tmp_path: Path, chain: Any) -> None:
    segments = open_segments(tmp_path / "blocks", segment_bytes=100)
    for height in range(1, 4):
        segments.append(chain.block(height))
    assert len(files_of(tmp_path / "blocks")) == 3
    assert [segments.read(Height(n)) for n in (1, 2, 3)] == [chain.block(n) for n in (1, 2, 3)]
    segments.close()


def test_a_torn_record_is_cut_off_at_every_offset(folder: Path, chain: Any) -> None:
    last = files_of(folder)[-1]
    whole = last.read_bytes()
    segments = open_segments(folder)
    first = int(last.stem)
    # The end of the next to last record of the file, or its header if it holds one block only.
    before = HEADER_BYTES if first == 10 else segments._indexed[first].offsets[-2]
    segments.close()
    for size in range(before, len(whole)):
        last.write_bytes(whole[:size])
        segments = open_segments(folder, synced=9)
        assert segments.height == 9
        assert last.stat().st_size == before
        segments.append(chain.block(10))
        assert segments.read(Height(10)) == chain.block(10)
        segments.close()


def test_a_torn_record_that_was_on_disk_is_damage(folder: Path) -> None:
    last = files_of(folder)[-1]
    os.truncate(last, last.stat().st_size - 1)
    with pytest.raises(CorruptState) as caught:
        open_segments(folder, synced=10)
    assert caught.value.reason is Reason.DATA_CORRUPT
    assert str(last) in str(caught.value)
    assert "offset" in str(caught.value)
    # Whoever empties the whole data directory makes a validator forget what it signed.
    assert "leave consensus/ as it is" in caught.value.remedy


def test_a_file_whose_creation_was_cut_short_is_made_anew(folder: Path, chain: Any) -> None:
    torn = folder / f"{11:012d}.blocks"
    for size in (0, 1, HEADER_BYTES - 1):
        torn.write_bytes(bytes(size))
        segments = open_segments(folder, synced=10)
        assert segments.height == 10
        segments.close()
        assert not torn.exists()


def test_damage_before_whole_records_is_never_cut_off(tmp_path: Path, chain: Any) -> None:
    segments = open_segments(tmp_path / "blocks", segment_bytes=1 << 20)
    for height in range(1, 6):
        segments.append(chain.block(height))
    offsets = list(segments._indexed[1].offsets)
    segments.close()
    (path,) = files_of(tmp_path / "blocks")
    whole = path.read_bytes()
    for offset in (offsets[2], offsets[2] + 5, offsets[2] + 100, offsets[3] - 1):
        damaged = bytearray(whole)
        damaged[offset] ^= 0x40
        path.write_bytes(damaged)
        with pytest.raises(CorruptState, match=f"offset {offsets[2]}"):
            open_segments(tmp_path / "blocks", synced=0)
        assert path.stat().st_size == len(whole)


def test_a_missing_file_is_reported_when_its_blocks_are_read(folder: Path) -> None:
    files_of(folder)[1].unlink()
    segments = open_segments(folder, synced=10)
    with pytest.raises(CorruptState):
        read_all(segments)
    segments.close()


def test_a_missing_first_file_is_reported_at_opening(folder: Path) -> None:
    files_of(folder)[0].unlink()
    with pytest.raises(CorruptState, match="begins with block"):
        open_segments(folder, synced=10)


def test_a_file_of_another_network_or_height_is_refused(folder: Path) -> None:
    with pytest.raises(CorruptState, match="header"):
        BlockSegments.open(folder, network_id=NetworkId(b"x" * 32), synced=Height(10))
    last = files_of(folder)[-1]
    last.rename(folder / f"{77:012d}.blocks")
    with pytest.raises(CorruptState, match="header"):
        open_segments(folder, synced=10)


def test_every_flipped_bit_of_a_full_file_is_found_when_it_is_read(folder: Path, chain: Any) -> None:
    first = files_of(folder)[0]
    whole = first.read_bytes()
    for offset in range(0, len(whole), 7):
        damaged = bytearray(whole)
        damaged[offset] ^= 1 << offset % 8
        first.write_bytes(damaged)
        segments = open_segments(folder, synced=10)
        with pytest.raises(CorruptState):
            read_all(segments)
        segments.close()


def damage(path: Path, offsets: list[int]) -> None:
    content = bytearray(path.read_bytes())
    for offset in offsets:
        content[offset] ^= 0x40
    path.write_bytes(content)


def open_from(folder: Path, first: int, segment_bytes: int) -> BlockSegments:
    return BlockSegments.open(
        folder, network_id=NETWORK, synced=Height(10), segment_bytes=segment_bytes, first=first
    )


@pytest.mark.parametrize("is_full", [False, True], ids=["last file", "full file"])
@pytest.mark.parametrize("where", ["magic", "head", "end", "two", "length"])
def test_damage_to_blocks_before_the_first_is_stepped_over(
    tmp_path: Path, chain: Any, where: str, is_full: bool
) -> None:
    """Those of heights 3 and 4 were pruned, and share a file with blocks that were not."""
    folder = tmp_path / "blocks"
    segments = open_segments(folder, segment_bytes=1 << 20)
    for height in range(1, 11):
        segments.append(chain.block(height))
    offsets = list(segments._indexed[1].offsets)
    segments.close()
    if is_full:  # The next block opens another file.
        segments = open_segments(folder, segment_bytes=1)
        segments.append(chain.block(11))
        segments.close()
    path = files_of(folder)[0]
    third, fourth, fifth = offsets[2:5]
    places = {
        "magic": [third],
        "head": [third + 30],
        "end": [fourth - 1],
        "two": [third + 5, fourth + 100],
        "length": [third + 4],
    }
    damage(path, places[where])
    before = path.read_bytes()

    segments = open_from(folder, 5, 1 << 20)
    for height in range(5, 11):
        assert segments.read(Height(height)) == chain.block(height)
        assert segments.read_hash(Height(height)) == chain.block(height).block_hash
    found = {"two": {3, 4}}.get(where, {3})
    # Of a full file heads are read, and nothing else.
    assert segments.passed_over == (found - {4} - ({3} if where == "end" else set()) if is_full else found)
    with pytest.raises(UsageError, match="block 4 is not stored"):
        segments.read(Height(4))
    segments.append(chain.block(12 if is_full else 11))
    segments.close()
    assert path.read_bytes()[: len(before)] == before

    # One byte of a block that is needed, and nothing is stepped over.
    damage(path, [fifth])
    with pytest.raises(CorruptState, match="offset"):
        open_from(folder, 5, 1 << 20).read(Height(9))


def test_a_head_copied_into_an_earlier_block_does_not_pass_for_the_record(tmp_path: Path, chain: Any) -> None:
    """Whoever saw the file may put a head of it into a transaction, and the disk may damage what is there."""
    folder = tmp_path / "blocks"
    segments = open_segments(folder, segment_bytes=1 << 20)
    segments.append(chain.block(1))
    segments.append(chain.block(2))
    start, stop = segments._indexed[1].offsets[1:]
    stolen = files_of(folder)[0].read_bytes()[start:stop]
    segments.append(replace(chain.block(3), block=stolen))
    for height in range(4, 11):
        segments.append(chain.block(height))
    third = segments._indexed[1].offsets[2]
    segments.close()
    damage(files_of(folder)[0], [third])
    segments = open_from(folder, 5, 1 << 20)
    assert segments.passed_over == {3}
    assert [segments.read(Height(height)) for height in range(5, 11)] == [
        chain.block(height) for height in range(5, 11)
    ]
    segments.close()
