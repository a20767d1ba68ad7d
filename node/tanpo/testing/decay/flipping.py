"""Damages copies, one bit or one tail at a time, and counts what their readers make of it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from tanpo.ledger.errors import LedgerError
from tanpo.testing.decay.specimens import Specimen, Wrong


@dataclass(slots=True, kw_only=True)
class Tally:
    """What became of the damage to one kind of file: refused or dropped, without effect, or not noticed."""

    detected: int = 0
    harmless: int = 0
    wrong: list[str] = field(default_factory=list)


def decay(
    specimens: Sequence[Specimen], scratch: Path, *, flips: int, truncations: int, seed: int
) -> dict[str, Tally]:
    """Flip so many bits and cut so many tails, of every kind of file in turn; count what came of it."""
    chance = Random(seed)  # noqa: S311 - replayed, not secret
    kinds = [(specimen, kind) for specimen in specimens for kind in specimen.kinds]
    tallies = {f"{specimen.name}: {kind}": Tally() for specimen, kind in kinds}
    for number in range(flips + truncations):
        specimen, kind = kinds[number % len(kinds)]
        copy = scratch / "copy"
        shutil.copytree(specimen.folder, copy)
        try:
            where = _damage(copy, specimen.kinds[kind], chance, is_cut=number >= flips)
            _judge(specimen, copy, where, tallies[f"{specimen.name}: {kind}"])
        finally:
            shutil.rmtree(copy)
    return tallies


def _damage(copy: Path, pattern: str, chance: Random, *, is_cut: bool) -> str:
    """Damage a file of a kind, each byte as likely as any other; return where."""
    sized = list(_measure(copy, pattern))
    path, size = chance.choices(sized, [size for _, size in sized])[0]
    at = chance.randrange(size)
    if is_cut:
        os.truncate(path, at)
        return f"{path.name} cut to {at} of {size}"
    bit = chance.randrange(8)
    with path.open("r+b") as file:
        file.seek(at)
        (byte,) = file.read(1)
        file.seek(at)
        file.write(bytes((byte ^ 1 << bit,)))
    return f"{path.name} at {at} of {size}, bit {bit}"


def _measure(copy: Path, pattern: str) -> Iterator[tuple[Path, int]]:
    for path in sorted(copy.glob(pattern)):
        if size := path.stat().st_size:
            yield path, size


def _judge(specimen: Specimen, copy: Path, where: str, tally: Tally) -> None:
    try:
        is_noticed = specimen.read(copy)
    except LedgerError:
        is_noticed = True
    except Wrong as wrong:
        tally.wrong.append(f"{where}: {wrong}")
        return
    if is_noticed:
        tally.detected += 1
    else:
        tally.harmless += 1
