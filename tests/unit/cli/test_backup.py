"""Backups on the command line: what does not go together is refused before anything is written."""

from __future__ import annotations

from pathlib import Path

import pytest
from tanpo.cli.backup import load_passphrase
from tanpo.cli.root import app
from tanpo.ledger.errors import UsageError
from typer.testing import CliRunner


def write_secret(path: Path, content: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(content)
    path.chmod(mode)
    return path


def test_a_passphrase_is_the_first_line_of_a_file_of_its_owner(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    assert load_passphrase(write_secret(file, b"long enough for a test\r\nand more\n")) == (
        b"long enough for a test"
    )
    assert load_passphrase(None) is None
    with pytest.raises(UsageError, match="may be read by others"):
        load_passphrase(write_secret(file, b"long enough for a test", 0o640))
    for wrong in (b"", b"short\n", b"\nlong enough for a test", b"x" * 1025):
        with pytest.raises(UsageError, match="is no passphrase"):
            load_passphrase(write_secret(file, wrong))


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("-p", "operator.toml", "--config", "node.toml"),
        ("--config", "node.toml", "--with-keys"),
        ("-p", "operator.toml", "--with-keys", "--passphrase-file", "secret"),
    ],
)
def test_what_does_not_go_together_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_secret(tmp_path / "secret", b"long enough for a test")
    done = CliRunner().invoke(app, ["node", "backup", "create", "new.backup", *options])
    assert isinstance(done.exception, UsageError)
    assert done.exception.remedy
    assert not (tmp_path / "new.backup").exists()
