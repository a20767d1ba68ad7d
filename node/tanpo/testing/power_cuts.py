"""Power cuts while a node writes: `python -m tanpo.testing.power_cuts FOLDER`, with what `disk_faults` runs.

A process is ended at one of its calls, and its disk is made anew from what it had synced until then: the
content of each file at its last sync, and the names that were synced with their folder or, as on ext4 and
XFS, with the file itself. Three disks may be left, and each is checked:

    late    names that were changed and not synced are the old ones
    early   names are the new ones at once, as when the journal happened to be written
    torn    of what was written and not synced, some pages are on disk and others are not
"""

from __future__ import annotations

import argparse
import json
import secrets
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from random import Random
from typing import Final

from tanpo.testing.disk_faults import Bench, Call, read_trace

PAGE_BYTES: Final = 4096
REFUSED: Final = 4
"""The exit code for data that contradicts itself: a torn LevelDB is refused, with the remedy."""


class Left(StrEnum):
    """Which of the disks that a power cut may leave."""

    LATE = "late"
    EARLY = "early"
    TORN = "torn"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """What became of one power cut."""

    number: int
    left: Left
    acknowledged: int
    is_refused: bool
    violation: str


class Disk:
    """Names and contents as the calls of a run make them: what is there, and what is durable."""

    def __init__(self, *, is_early: bool) -> None:
        self._is_early = is_early
        self._made = 0
        self.there: dict[str, int] = {}
        self.durable: dict[str, int] = {}
        self.synced: dict[int, int] = {}
        self._renamed: list[tuple[str, str]] = []

    def hear(self, call: Call) -> None:
        """Follow one call that succeeded."""
        match call.name:
            case "create":
                self._made += 1
                self.there[call.path] = self._made
            case "rename":
                _move(self.there, call.path, call.to)
                self._renamed.append((call.path, call.to))
            case "unlink":
                self.there.pop(call.path, None)
            case "sync" if call.path in self.there:
                made = self.there[call.path]
                self.durable[call.path] = made
                self.synced[made] = call.number
            case "sync":
                self._sync_folder(call.path)
        if self._is_early:
            for folder in {path.rpartition("/")[0] for path in (call.path, call.to) if path}:
                self._sync_folder(folder)

    def _sync_folder(self, folder: str) -> None:
        for old, new in [one for one in self._renamed if one[1].rpartition("/")[0] == folder]:
            _move(self.durable, old, new)
            self._renamed.remove((old, new))
        for names in (self.durable, self.there):
            for path in [path for path in names if path.rpartition("/")[0] == folder]:
                if path in self.there:
                    self.durable[path] = self.there[path]
                else:
                    del self.durable[path]


def _move(names: dict[str, int], old: str, new: str) -> None:
    for path in [path for path in names if path == old or path.startswith(f"{old}/")]:
        names[new + path.removeprefix(old)] = names.pop(path)


def restore_disk(calls: Sequence[Call], run: Path, target: Path, left: Left, chance: Random) -> None:
    """Make the disk that a power cut after these calls leaves."""
    disk = Disk(is_early=left is Left.EARLY)
    for call in calls:
        disk.hear(call)
    # The folder itself, which the process made: a node's data directory is there before it starts.
    target.mkdir(parents=True)
    current = {made: path for path, made in disk.there.items()}
    for path, made in disk.durable.items():
        content = b""
        if made in disk.synced:
            content = (run / "synced" / str(disk.synced[made])).read_bytes()
        written = run / "data" / current.get(made, "").lstrip("/")
        if left is Left.TORN and written.is_file():
            content = _tear(content, written.read_bytes(), chance)
        file = target / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)


def _tear(old: bytes, new: bytes, chance: Random) -> bytes:
    """Return a content of which each page is the old or the new one, cut anywhere above the old end."""
    end = chance.randint(min(len(old), len(new)), len(new))
    pages = []
    for at in range(0, end, PAGE_BYTES):
        page = (new if chance.random() < 0.5 else old)[at : at + PAGE_BYTES]
        pages.append(page.ljust(PAGE_BYTES, b"\x00"))
    return b"".join(pages)[:end]


def cut_power(bench: Bench, number: int, seed: int) -> list[Cut]:
    """End a process at one call, and check every disk that may be left."""
    cuts = []
    with bench.folder() as run:
        (run / "synced").mkdir()
        done = bench.run(run, number, 0, {"FAULT_SYNCED": str(run / "synced")})
        acknowledged = int((done.stdout.split() or ["0"])[-1])
        calls = [call for call in read_trace(run / "trace") if call.number < number]
        for left in Left:
            chance = Random(f"{seed}:{number}:{left}")  # noqa: S311 - replayed, not secret
            image = run / left
            restore_disk(calls, run, image / "data", left, chance)
            check = bench.start((str(image), "--check", str(acknowledged)), {})
            # Before anything was reported, LevelDB's first files may be half made, and nothing is lost.
            is_excused = left is Left.TORN or acknowledged == 0
            is_refused = is_excused and check.returncode == REFUSED
            is_fine = check.returncode == 0 or is_refused
            cuts.append(
                Cut(
                    number=number,
                    left=left,
                    acknowledged=acknowledged,
                    is_refused=is_refused,
                    violation="" if is_fine else check.stderr.strip()[-300:],
                )
            )
            shutil.rmtree(image)
    return cuts


def summarise(cuts: Sequence[Cut], seed: int) -> Mapping[str, object]:
    """Return what a number of power cuts came to."""
    return {
        "seed": seed,
        "cuts": len({cut.number for cut in cuts}),
        "disks": len(cuts),
        "refused": sum(cut.is_refused for cut in cuts),
        "violations": [asdict(cut) for cut in cuts if cut.violation],
    }


def main() -> int:
    """Run as the arguments say and print JSON; exit with 1 when what was reported durable was lost."""
    parser = argparse.ArgumentParser(prog="python -m tanpo.testing.power_cuts")
    parser.add_argument("folder", type=Path, help="where failing.c and writer.py are")
    parser.add_argument("--cuts", type=int, default=60, help="power cuts, each in a run of its own")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6))
    options = parser.parse_args()
    chance = Random(options.seed)  # noqa: S311 - replayed, not secret
    with tempfile.TemporaryDirectory(prefix="tanpo-power-") as scratch:
        bench = Bench(options.folder, Path(scratch), value_bytes=20_000)
        total = len(bench.record())
        cuts = [
            cut
            for number in sorted(chance.sample(range(1, total + 1), min(options.cuts, total)))
            for cut in cut_power(bench, number, options.seed)
        ]
    document = summarise(cuts, options.seed)
    sys.stdout.write(json.dumps(document, indent=2) + "\n")
    return 1 if document["violations"] else 0


if __name__ == "__main__":
    sys.exit(main())
