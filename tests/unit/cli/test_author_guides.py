"""The guides for authors do what they say: their files are written and their commands run, in their order."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from tanpo.testing.commands import run_tanpo, run_tanpo_here

DOCS = Path(__file__).resolve().parents[3] / "docs"
BLOCK = re.compile(
    r"^(?:<!-- (?P<file>\S+) -->\n)?```(?P<kind>\w+)\n(?P<text>.*?)^```", re.MULTILINE | re.DOTALL
)

pytestmark = pytest.mark.timeout(240)


@pytest.mark.parametrize(
    ("guide", "commands", "reported"),
    [
        ("first-contract.md", 8, ("escrow claim", "escrow escrow", "escrow refund")),
        ("testing-contracts.md", 4, ("offers offer", "offers take", "instruments mint")),
    ],
)
def test_every_step_of_a_guide_comes_out_as_it_says(
    guide: str, commands: int, reported: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("pytest.ini").write_text("[pytest]\n")
    printed, code, ran = "", 0, 0
    for block in BLOCK.finditer((DOCS / guide).read_text()):
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
    assert (code, ran) == (0, commands), printed
    for entry in reported:
        assert f"{entry} " in " ".join(printed.split())
