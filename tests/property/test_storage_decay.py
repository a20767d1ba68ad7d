"""Some of `make decay`: single bits that flip and tails that go missing in every kind of file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tanpo.testing.decay import decay, make_specimens
from tanpo.testing.decay.specimens import Wrong

KINDS = 16
FLIPS, TRUNCATIONS = 4 * KINDS, KINDS


@pytest.mark.timeout(180)
@pytest.mark.parametrize("seed", [1])
def test_damage_to_any_file_is_noticed_or_harmless(tmp_path: Path, seed: int) -> None:
    specimens = make_specimens(tmp_path)
    tallies = decay(specimens, tmp_path, flips=FLIPS, truncations=TRUNCATIONS, seed=seed)
    assert {kind: tally.wrong for kind, tally in tallies.items() if tally.wrong} == {}
    counts = [tally.detected + tally.harmless for tally in tallies.values()]
    assert counts == [(FLIPS + TRUNCATIONS) // KINDS] * KINDS
    assert sum(tally.detected for tally in tallies.values()) > FLIPS / 2


def test_damage_that_nobody_notices_is_counted_as_wrong(tmp_path: Path) -> None:
    *_, plain, _ = make_specimens(tmp_path)
    truth = (plain.folder / "backup").read_bytes()

    def read(folder: Path) -> bool:
        if (folder / "backup").read_bytes() != truth:
            raise Wrong("content")
        return False

    (tally,) = decay([replace(plain, read=read)], tmp_path, flips=5, truncations=2, seed=1).values()
    assert (len(tally.wrong), tally.detected, tally.harmless) == (7, 0, 0)
