"""The tutorial for authors does what it says: its files are written and its commands run, in its order."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from tanpo.testing.commands import run_tanpo, run_tanpo_here

GUIDE = (Path(__file__).resolve().parents[3] / "docs" / "first-contract.md").read_text()
BLOCK = re.compile(
    r"^(?:<!-- (?P<file>\S+) -->\n)?```(?P<kind>\w+)\n(?P<text>.*?)^```", re.MULTILINE | re.DOTALL
)


def test_every_step_of_the_tutorial_comes_out_as_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("pytest.ini").write_text("[pytest]\n")
    printed, code, ran = "", 0, 0
    for block in BLOCK.finditer(GUIDE):
        if block["kind"] == "python":
            Path(block["file"]).write_text(block["text"])
        elif block["kind"] == "text":
            assert printed == block["text"]
            # Only what is shown may have failed.
            code = 0
        else:
            assert code == 0, printed
            for line in block["text"].splitlines():
                assert code == 0, printed
                arguments = shlex.split(line.removeprefix("$ tanpo "))
                done = (run_tanpo if "test" in arguments else run_tanpo_here)(*arguments)
                printed, code, ran = done.stdout, done.returncode, ran + 1
    assert (code, ran) == (0, 8)
    for entry in ("claim", "escrow", "refund"):
        assert f"escrow {entry} " in " ".join(printed.split())
