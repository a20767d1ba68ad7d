from __future__ import annotations

import os
from base64 import b64encode
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tanpo.ledger.keys import PrivateKey
from tanpo.node.redaction import REDACTED, Redactor

KEY = PrivateKey.generate()
PEM = KEY.to_pem().decode()
SCALAR = KEY.to_cryptography().private_numbers().private_value


@pytest.fixture(scope="module")
def redactor(tmp_path_factory: pytest.TempPathFactory) -> Redactor:
    path = tmp_path_factory.mktemp("keys") / "a.key"
    path.write_text(PEM)
    return Redactor.of_files((path, path.with_name("none.key")))


SPELLINGS = {
    "file": (PEM, PEM.splitlines()[1]),
    "file in one line": (PEM.replace("\n", "\\n"), PEM.splitlines()[1]),
    "file cut short": (PEM.partition("-----END")[0], PEM.splitlines()[2]),
    "line of the file": ("in the middle " + PEM.splitlines()[1] + " of a line", PEM.splitlines()[1]),
    "hex": (f"d = {SCALAR:064x}", f"{SCALAR:064x}"),
    "capital hex": (f"D={SCALAR:064X}", f"{SCALAR:064X}"),
    "decimal": (f"d is {SCALAR}", str(SCALAR)),
    "base64": (
        b64encode(SCALAR.to_bytes(32, "big")).decode(),
        b64encode(SCALAR.to_bytes(32, "big")).decode(),
    ),
    "toml": ('password = "hunter2 and more"', "hunter2"),
    "comment": ("# passphrase: correct horse battery", "horse"),
    "json": ('{"why": "bad", "db_password": "hun\\"ter2", "x": 1}', "ter2"),
    "environment": ("DB_PASSWORD=hunter2", "hunter2"),
    "bearer": ("Authorization: Bearer abcdef", "abcdef"),
    "address": ("postgres://tanpo:hunter2@host/db", "hunter2"),
    "quoted": ("api-key='hunter2'", "hunter2"),
}
"""Texts, and what must not be left of them. By name, for workers of a run make keys of their own."""


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_secrets_are_taken_out_however_they_are_written(redactor: Redactor, spelling: str) -> None:
    text, secret = SPELLINGS[spelling]
    assert secret in text
    shown = redactor.redact(text)
    assert secret not in shown
    assert REDACTED in shown


def test_a_text_without_a_space_is_read_in_a_time_in_its_length(redactor: Redactor) -> None:
    """Else the run of this file would not end within a test's time."""
    text = "x" * 2_000_000
    assert redactor.redact(text) == text
    assert redactor.redact("pass" * 50_000).startswith("pass")


def test_a_pipe_in_the_place_of_a_secret_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "key")
    assert Redactor.of_files([tmp_path / "key"]).redact("plain") == "plain"


def test_what_is_no_secret_stays(redactor: Redactor) -> None:
    text = 'key_id = "ab12", signing_key = "validator.key"\n{"event": "term", "height": 7}\ntls.key: a.key\n'
    assert redactor.redact(text) == text


@given(before=st.text(max_size=30), after=st.text(max_size=30))
def test_a_line_of_a_key_is_found_wherever_it_is(before: str, after: str) -> None:
    line = PEM.splitlines()[1]
    assert line not in Redactor([line]).redact(before + line + after)
