"""`tanpo validator` on a network of processes: one command, or drafts that members sign apart."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from tanpo.testing.commands import read_json_here, run_tanpo_here
from tanpo.testing.waiting import poll_level, poll_until

pytestmark = pytest.mark.timeout(400)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "net"
    try:
        rows = read_json_here("net", "up", "--dir", str(folder), "--members", "5", "--validators", "4")
        assert [row["role"] for row in rows] == ["validator"] * 4 + ["observer"]
        yield folder
    finally:
        run_tanpo_here("net", "down", "--dir", str(folder))


def read_roles(folder: Path) -> dict[str, tuple[str, str]]:
    """What each node says it is, and what it says is amiss: it may be some blocks behind for a moment."""
    rows = json.loads(run_tanpo_here("net", "status", "--dir", str(folder), "-o", "json").stdout)
    return {row["node"]: (row.get("role", ""), row["problem"]) for row in rows}


def list_validators(folder: Path) -> list[str]:
    found = read_json_here("validator", "list", "--dir", str(folder))["validators"]
    return [f"{row['member']}/{row['node']}" for row in found]


def check_one_command(folder: Path) -> None:
    before = list_validators(folder)
    done = read_json_here("validator", "replace", "--dir", str(folder), "--add", "participant-5/node-1")
    assert (done["epoch"], done["added"], done["quorum"]) == (1, ["participant-5/node-1"], 4)
    assert list_validators(folder) == [*before, "participant-5/node-1"]
    poll_until(lambda: set(read_roles(folder).values()) == {("validator", "")})


def check_absence(folder: Path, tmp_path: Path) -> None:
    """Before the fifth is a validator: it is down, and counted on only with a word."""
    before = list_validators(folder)
    read_json_here("net", "kill", "participant-5", "--dir", str(folder))
    add = ("validator", "replace", "--dir", str(folder), "--add", "participant-5/node-1")
    seen = "tanpo: VALIDATORS_REFUSED: the node asked sees 4 of the 5 validators up"
    drafts = (("--draft", str(tmp_path / f"seen-{number}.draft")) for number in count())
    # Of a draft nothing comes, should the node that is asked not have seen yet that the other is gone.
    poll_until(lambda: run_tanpo_here(*add, *next(drafts)).stderr.startswith(seen))
    refused = run_tanpo_here(*add)
    assert refused.returncode == 1
    assert refused.stderr.startswith(seen)
    assert "; value: participant-5/node-1; " in refused.stderr
    assert list_validators(folder) == before
    draft = tmp_path / "absent.draft"
    assert read_json_here(*add, "--absent", "--draft", str(draft))["added"] == ["participant-5/node-1"]
    read_json_here("net", "start", "participant-5", "--dir", str(folder))


def check_number(folder: Path, tmp_path: Path) -> None:
    nothing = tmp_path / "nothing.json"
    nothing.write_text("[]")
    refused = run_tanpo_here("validator", "replace", "--dir", str(folder), "--file", str(nothing))
    assert "their number is not allowed; value: 0; limit: 1..64; " in refused.stderr


def check_refusals(folder: Path) -> None:
    wrong = run_tanpo_here("validator", "replace", "--dir", str(folder), "--remove", "dealer-z/node-1")
    assert wrong.returncode == 1
    assert wrong.stderr.startswith("tanpo: CONFIGURATION: dealer-z/node-1 is no validator; ")
    keys = [f"{name}={'00' * 91}" for name in ("dealer-a/node-1",)]
    wrong = run_tanpo_here("validator", "replace", "--dir", str(folder), "--rekey", *keys)
    assert wrong.stderr.startswith("tanpo: CONFIGURATION: public key is not a DER SubjectPublicKeyInfo; ")
    alone = run_tanpo_here(
        *("validator", "replace", "-p", str(folder / "dealer-a" / "profile.toml")),
        *("--remove", "participant-5/node-1"),
    )
    assert alone.stderr.startswith(
        "tanpo: SIGNATURE_MISSING: 1 of 5 members sign, and more than two thirds must"
    )
    assert alone.stderr.count("\n") == 1
    assert run_tanpo_here("validator", "replace", "--dir", str(folder)).returncode == 2


def check_draft(folder: Path, tmp_path: Path) -> None:
    members = ("trust-bank", "dealer-a", "dealer-b", "custody-bank")
    genesis, draft = str(folder / "genesis.json"), tmp_path / "change.draft"
    built = read_json_here(
        *("validator", "replace", "-p", str(folder / "dealer-a" / "profile.toml")),
        *("--remove", "participant-5/node-1", "--draft", str(draft)),
        *(argument for member in members for argument in ("--signer", member)),
    )
    assert built["removed"] == ["participant-5/node-1"]
    foreign = run_tanpo_here(
        *("validator", "replace", "-p", str(folder / "participant-5" / "profile.toml")),
        *("--remove", "participant-5/node-1", "--draft", str(tmp_path / "foreign.draft")),
        *(argument for member in members for argument in ("--signer", member)),
    )
    assert foreign.stderr.startswith("tanpo: SIGNATURE_MISSING: participant-5 proposes the change, and does")
    assert not (tmp_path / "foreign.draft").exists()
    for member in members:
        key = str(folder / member / "transaction.key")
        signed = read_json_here(
            *("tx", "sign", str(draft), "--genesis", genesis, "--key", key, "--out", str(tmp_path / member))
        )
        (transaction,) = signed["transactions"]
        assert (transaction["contract"], transaction["entry"]) == ("validators", "replace")
    envelope = str(tmp_path / "change.envelope")
    signatures = [str(tmp_path / member) for member in members]
    read_json_here("tx", "seal", str(draft), *signatures, "--genesis", genesis, "--out", envelope)
    sent = read_json_here("tx", "send", envelope, "-p", str(folder / "dealer-a" / "profile.toml"))
    assert sent["state"] == "committed"
    poll_level(folder)
    assert "participant-5/node-1" not in list_validators(folder)


def check_rekey(folder: Path) -> None:
    told = read_json_here("net", "rekey", "dealer-b", "--dir", str(folder))
    role, problem = read_roles(folder)["dealer-b"]
    assert role == "observer"
    assert "another key" in problem
    done = read_json_here(*told["next"].split()[1:])
    assert done["rekeyed"] == ["dealer-b/node-1"]
    poll_until(lambda: read_roles(folder)["dealer-b"] == ("validator", ""))


def check_file(folder: Path, tmp_path: Path) -> None:
    listed = read_json_here("validator", "list", "--dir", str(folder))
    file = tmp_path / "validators.json"
    file.write_text(json.dumps({"validators": listed["validators"][::-1]}))
    done = read_json_here("validator", "replace", "--dir", str(folder), "--file", str(file))
    assert done["epoch"] == listed["epoch"] + 1
    assert list_validators(folder) == [f"{row['member']}/{row['node']}" for row in listed["validators"][::-1]]
    again = run_tanpo_here("validator", "replace", "--dir", str(folder), "--file", str(file))
    assert again.stderr.startswith("tanpo: VALIDATORS_REFUSED: the validators cannot be changed so: they are")


def test_members_change_their_validators_from_the_shell(folder: Path, tmp_path: Path) -> None:
    """Each step goes on from what the one before it left."""
    check_absence(folder, tmp_path)
    check_number(folder, tmp_path)
    check_one_command(folder)
    check_refusals(folder)
    check_draft(folder, tmp_path)
    check_rekey(folder)
    check_file(folder, tmp_path)
