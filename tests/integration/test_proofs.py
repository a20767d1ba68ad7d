"""Proofs on a network of four processes: exported through the command line, and checked with no node up."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from tanpo.client import AsyncClient, Client, EpochPin, load_profile, read_position
from tanpo.testing.commands import read_json, read_json_here, run_tanpo, run_tanpo_here
from tanpo.testing.town import YEN
from tanpo.testing.waiting import poll_level

pytestmark = pytest.mark.timeout(400)

DOCUMENTS = Path(__file__).parents[2] / "docs"


class Town:
    """A running network, and the files that were exported from it."""

    def __init__(self, folder: Path) -> None:
        self.net, self.files = folder / "net", folder / "files"
        self.files.mkdir()
        self.genesis = str(self.net / "genesis.json")

    def profile(self, member: str) -> str:
        return str(self.net / member / "profile.toml")

    def submit(self, member: str, entry: str, **arguments: Any) -> dict[str, Any]:
        given = [
            part
            for name, value in arguments.items()
            for part in ("-a", f"{name}={json.dumps(value) if isinstance(value, dict) else value}")
        ]
        done: dict[str, Any] = read_json_here(
            "tx", "submit", "instruments", entry, "-p", self.profile(member), *given
        )
        return done

    def transfer(self, quantity: int) -> dict[str, Any]:
        return self.submit(
            "dealer-a",
            "transfer",
            deliverer="dealer-a",
            receiver="dealer-b",
            instrument="yen",
            quantity=quantity,
        )

    def export(self, name: str, *command: str) -> Path:
        """Have a node of another member export a proof."""
        file = self.files / f"{name}.json"
        read_json_here(*command, "-p", self.profile("custody-bank"), "--out", str(file))
        return file

    def print(self, *command: str) -> str:
        """Have it print the proof instead."""
        done = run_tanpo_here(*command, "-p", self.profile("custody-bank"))
        assert done.returncode == 0, done.stderr
        return done.stdout

    def check(self, file: Path) -> dict[str, Any]:
        """Check a file with both verifiers, and return what the command says of it."""
        verdict: dict[str, Any] = read_json_here("verify", str(file), "--genesis", self.genesis)
        other = subprocess.run(
            [sys.executable, str(DOCUMENTS / "verify_proof.py"), str(file), self.genesis],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (other.returncode, other.stdout[:8]) == (0, "proved: "), other.stdout + other.stderr
        return verdict


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Any:
    opened = Town(tmp_path_factory.mktemp("town"))
    try:
        read_json("net", "up", "--dir", str(opened.net))
        yield opened
    finally:
        run_tanpo("net", "down", "--dir", str(opened.net))


def open_book(town: Town) -> None:
    lock = {"instrument": "yen", "reference": "v-1", "quantity": 1_000_000}
    town.submit("trust-bank", "define", instrument=YEN)
    town.submit("custody-bank", "confirm_lock", **lock)
    town.submit("trust-bank", "mint", account="dealer-a", **lock)


def run_documented_program(town: Town) -> Path:
    """Run the program of the documents as dealer-a, and return the file that it writes."""
    text = (DOCUMENTS / "proofs.md").read_text(encoding="utf-8")
    program = text.partition("```python\n")[2].partition("```")[0]
    file = town.files / "documented.json"
    for shown, here in (
        ("profile.toml", town.profile("dealer-a")),
        ("JP1103521F62", "yen"),
        ("b.json", str(file)),
    ):
        assert shown in program
        program = program.replace(shown, here)
    exec(compile(program, "proofs.md", "exec"), {"__name__": "sample"})
    return file


async def read_with_both(town: Town) -> list[int]:
    """Return what both clients find that dealer-a has, proved."""
    config = load_profile(town.profile("trust-bank"))
    async with AsyncClient(config) as client:
        found = await client.state.balance("dealer-a", "yen", verified=True)
        holdings = await client.state.holdings("dealer-a")
    assert holdings.positions["yen"] == read_position(found.value)

    def read() -> int:
        with Client(config) as blocking:
            return read_position(blocking.state.balance("dealer-a", "yen", verified=True).value).free

    return [read_position(found.value).free, await asyncio.to_thread(read)]


def test_proofs_outlive_the_network_and_its_first_validators(town: Town) -> None:
    open_book(town)
    first = town.transfer(5_000)
    poll_level(town.net)  # Other nodes are asked for the proofs of it.
    files = {
        "receipt": town.export("receipt", "receipt", "export", first["tx_id"]),
        "balance": town.export("balance", "proof", "balance", "dealer-a", "yen"),
        "absence": town.export("absence", "proof", "balance", "custody-bank", "yen"),
        "listing": town.export("listing", "proof", "listing", "instruments", "accounts_of", "yen"),
        "value": town.export("value", "proof", "value", "members", "roles", "-k", "dealer-a"),
    }
    assert town.check(files["receipt"])["proved"][0].startswith(
        "dealer-a (Asagao Securities) delivered 5,000 of yen to dealer-b (Botan Capital Markets), at "
    )
    printed = town.files / "printed.json"
    printed.write_text(town.print("receipt", "export", first["tx_id"]))
    assert town.check(printed)["proved"][0] == town.check(files["receipt"])["proved"][0]
    assert town.check(files["balance"])["value"]["free"] == 995_000
    assert town.check(files["absence"])["value"] is None
    assert town.check(files["listing"])["members"] == ["dealer-a", "dealer-b"]
    assert town.check(files["value"])["value"] == ["participant"]

    removed = ("--remove", "dealer-b/node-1", "--weaken")
    assert read_json("validator", "replace", "--dir", str(town.net), *removed)["epoch"] == 1
    second = town.transfer(1_000)
    poll_level(town.net)
    pin = read_json_here("validator", "pin", "-p", town.profile("custody-bank"))["pin"]
    assert EpochPin.parse(pin).epoch == 1
    files["later receipt"] = town.export("later", "receipt", "export", second["tx_id"])
    files["earlier balance"] = town.export(
        "earlier", "proof", "balance", "dealer-a", "yen", "--at", str(first["height"])
    )
    assert asyncio.run(read_with_both(town)) == [994_000, 994_000]
    files["as documented"] = run_documented_program(town)
    blocks = town.export("blocks", "block", "export", "--from", "1", "--to", str(second["height"]))
    latest = town.export("latest", "block", "export", "--from", str(first["height"]))

    run_tanpo("net", "down", "--dir", str(town.net))
    for file in files.values():
        town.check(file)
    check_blocks(town, blocks, latest, second["height"])
    later = town.check(files["later receipt"])
    assert (later["epoch"], len(later["voters"]), later["validators"]) == (1, 2, 3)
    earlier = town.check(files["earlier balance"])
    assert (earlier["epoch"], earlier["height"], earlier["value"]["free"]) == (0, first["height"], 995_000)

    pinned = ("--genesis", town.genesis, "--pin", pin)
    assert run_tanpo_here("verify", str(files["later receipt"]), *pinned).returncode == 0
    refused = run_tanpo_here("verify", str(files["earlier balance"]), *pinned)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "the link 'pin' does not hold" in refused.stderr


def check_blocks(town: Town, blocks: Path, latest: Path, last: int) -> None:
    """Blocks that an archive exported prove themselves, and say what was done to them."""
    verdict = read_json_here("verify", str(blocks), "--genesis", town.genesis)
    assert (verdict["kind"], verdict["first_height"], verdict["last_height"]) == ("blocks", 1, last)
    assert (verdict["transactions"], verdict["epoch"]) == (6, 1)
    assert f"These are the blocks 1 to {last}" in verdict["proved"][0]
    assert read_json_here("verify", str(latest), "--genesis", town.genesis)["last_height"] >= last
    damaged = bytearray(blocks.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    blocks.write_bytes(damaged)
    for link, content in (
        ("checksum", damaged),
        ("block", damaged[:-32] + sha256(damaged[:-32]).digest()),
    ):
        blocks.write_bytes(content)
        refused = run_tanpo_here("verify", str(blocks), "--genesis", town.genesis)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert link in refused.stderr
        assert "does not hold" in refused.stderr


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (("verify", "nowhere.json"), "CONFIGURATION"),
        (("verify", "genesis.json"), "MALFORMED"),
    ],
)
def test_what_is_no_proof_is_refused_in_one_line(town: Town, command: tuple[str, str], code: str) -> None:
    done = run_tanpo_here(command[0], str(town.net / command[1]), "--genesis", town.genesis)

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"tanpo: {code}: ")
    assert done.stderr.count("\n") == 1
