"""The chaos bench refuses what it could not run with before it starts a network."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from tanpo.testing.chaos.__main__ import read_arguments


@pytest.mark.parametrize("option", ["--rate", "--seconds"])
@pytest.mark.parametrize("amount", ["0", "-5", "nan", "inf", "many"])
def test_an_amount_that_is_none_is_refused(
    option: str, amount: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["chaos", "--faulty-node", __file__, f"{option}={amount}"])

    with pytest.raises(SystemExit) as refused:
        read_arguments()

    assert refused.value.code == 2
    assert f"{amount!r} is no number above 0" in capsys.readouterr().err


def test_a_program_that_is_not_there_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = tmp_path / "faulty_node.py"
    monkeypatch.setattr(sys, "argv", ["chaos", "--faulty-node", str(missing)])

    with pytest.raises(SystemExit) as refused:
        read_arguments()

    assert refused.value.code == 2
    assert f"{missing} is no file" in capsys.readouterr().err
