"""Commands speak JSON or tables on stdout, and an expected error is one line on stderr."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest
from tanpo.cli.output import Column, Format, Reporting, describe_error, print_fields, print_rows
from tanpo.ledger.errors import InvariantViolation, Reason, TransactionRejected, UsageError

COLUMNS = (
    Column(heading="Name", key="name"),
    Column(heading="Amount", key="amount", is_number=True),
    Column(heading="Pid", key="pid"),
    Column(heading="Root", key="root", digits_max=4),
)
ROW = {"name": "[bold]yen[/]", "amount": 1234567, "pid": 12345, "root": "abcdef", "unseen": None}


def test_rows_as_json_are_one_array_with_every_field(capsys: pytest.CaptureFixture[str]) -> None:
    print_rows(Format.JSON, [ROW], COLUMNS)
    assert json.loads(capsys.readouterr().out) == [ROW]


def test_rows_as_a_table_part_thousands_and_keep_identifiers_whole(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_rows(Format.TABLE, [ROW], COLUMNS)
    out = capsys.readouterr().out
    assert "1,234,567" in out
    assert "12345" in out
    assert "abcd…" in out
    assert "[bold]yen[/]" in out


def test_a_table_shows_the_very_text_of_a_fingerprint(capsys: pytest.CaptureFixture[str]) -> None:
    fingerprint = "BC:AB:7A:CL:VS:OK"
    print_fields(Format.TABLE, {"ca_fingerprint": fingerprint})
    assert fingerprint in capsys.readouterr().out


def test_fields_as_json_are_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    print_fields(Format.JSON, {"height": 7, "leader": "dealer-a/node-1"})
    assert json.loads(capsys.readouterr().out) == {"height": 7, "leader": "dealer-a/node-1"}


def test_an_error_is_one_line_with_code_value_limit_and_remedy() -> None:
    error = UsageError(
        Reason.CONFIGURATION, "a port\nis in use", value=80, limit="free", remedy="choose another"
    )
    assert describe_error(error) == (
        "CONFIGURATION: a port is in use; value: 80; limit: free; remedy: choose another"
    )


def test_an_expected_error_ends_the_command_with_one(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended, Reporting():
        raise TransactionRejected(Reason.EXPIRED, "valid_until has passed", value=1, limit=2)
    assert ended.value.code == 1
    assert capsys.readouterr().err == "tanpo: EXPIRED: valid_until has passed; value: 1; limit: 2\n"


def test_an_expected_error_among_tasks_is_found(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended, Reporting():
        raise ExceptionGroup("tasks", [UsageError(Reason.MISUSE, "closed")])
    assert ended.value.code == 2
    assert capsys.readouterr().err == "tanpo: MISUSE: closed\n"


def test_a_path_that_the_system_refuses_is_one_line_with_its_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    taken = tmp_path / "taken"
    taken.touch()
    with pytest.raises(SystemExit) as ended, Reporting():
        taken.mkdir()
    assert ended.value.code == 1
    assert capsys.readouterr().err == (
        "tanpo: CONFIGURATION: the operating system refused: File exists; "
        f"value: {taken}; remedy: correct the path or its permissions\n"
    )


def test_a_full_disk_is_named_as_such(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit), Reporting():
        raise OSError(errno.ENOSPC, "No space left on device")
    assert capsys.readouterr().err == (
        "tanpo: DISK_FULL: the operating system refused: No space left on device; "
        "remedy: make room on the disk\n"
    )


def test_a_violated_invariant_is_not_swallowed() -> None:
    with pytest.raises(InvariantViolation), Reporting():
        raise InvariantViolation("we are wrong")
