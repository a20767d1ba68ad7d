"""`tanpo contract` on a network of processes: installed by a vote, called, upgraded, refused, rehearsed."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from tanpo.cli.network import LocalNetwork
from tanpo.cli.provision import plan_network
from tanpo.client import load_genesis
from tanpo.ledger.types import Height
from tanpo.storage import LedgerStore
from tanpo.testing.commands import read_json_here, run_tanpo, run_tanpo_here
from tanpo.testing.waiting import poll_level

GUIDE = (Path(__file__).resolve().parents[2] / "docs" / "installing-contracts.md").read_text()
RATES, FINER = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
COMMANDS = [
    shlex.split(line.removeprefix("$ tanpo "))
    for block in re.findall(r"```console\n(.*?)```", GUIDE, re.DOTALL)
    for line in block.splitlines()
]

BROKEN = (
    FINER.replace("quoted: int", "quoted: str")
    .replace("quoted = len(names)", 'quoted = ""')
    .replace("quoted += 1", 'quoted += "x"')
    .replace("return quoted", "return len(quoted)")
)

TRIES = 300
"""How often a node that may be behind is asked; each time takes a good part of a second."""

pytestmark = pytest.mark.timeout(400)


class Town:
    """A running network, and `tanpo contract` as its members use it."""

    def __init__(self, network: LocalNetwork, folder: Path) -> None:
        self.network = network
        self.folder = folder
        self.dir = ("--dir", str(network.folder.root))

    def profile(self, member: str) -> tuple[str, str]:
        return ("-p", str(self.network.folder.get_member(member).profile))

    def write(self, source: str, name: str = "rates") -> str:
        path = self.folder / f"{name}.py"
        path.write_text(source)
        return str(path)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return run_tanpo_here("contract", *arguments)

    def read(self, *arguments: str) -> Any:
        return read_json_here("contract", *arguments)

    def catch_up(self) -> None:
        """Wait until every node that runs has what was committed through one of them."""
        poll_level(self.network.folder.root)

    def await_rate(self, member: str, name: str, rate: int) -> None:
        """Wait until a member's node has a rate."""
        found = next((rate for _ in range(TRIES) if self.query(member, name) == rate), None)
        assert found == rate, self.query(member, name)

    def query(self, member: str, name: str) -> int:
        answer = read_json_here("query", "rates", "rate_of", "-a", f"name={name}", *self.profile(member))
        return int(answer["value"])

    def quote(self, member: str, name: str, rate: int) -> Any:
        call = ("rates", "quote", "-a", f"name={name}", "-a", f"rate={rate}")
        return read_json_here("tx", "submit", *call, *self.profile(member))


@pytest.fixture
def town(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Town]:
    monkeypatch.chdir(tmp_path)
    network = LocalNetwork.create(tmp_path / ".net", plan_network(4))
    # One node runs contracts in a worker: it must come to the same as the others.
    config = network.folder.get_member(network.members[1]).config
    text = config.read_text()
    config.write_text(text.replace('execution = "in-process"', 'execution = "worker"'))
    assert config.read_text() != text
    network.start(ready_seconds=90)
    yield Town(network, tmp_path)
    network.stop()


def check_bad_source(town: Town) -> None:
    done = town.run(
        "propose", town.write("x: float\n\n@view\ndef f(a: int) -> int:\n    return a / 2\n"), *town.dir
    )
    lines = done.stderr.splitlines()
    assert (done.returncode, len(lines)) == (1, 2)
    assert "rates.py:1:4: TYPE: " in lines[0]
    assert "rates.py:5:12: DIVISION: " in lines[1]
    missing = town.run("propose", town.write(RATES), *town.dir, "-a", "start=5")
    assert missing.stderr.startswith("tanpo: ARGUMENT_MISSING: @init needs more arguments; value: names")
    absent = run_tanpo("contract", "propose", str(town.folder / "absent.py"), *town.dir)
    assert (absent.returncode, absent.stderr.count("\n")) == (2, 1)


def check_guide(town: Town, sleeper: str) -> None:
    """Do what the guide says, in its order; one node sleeps through the upgrade."""
    printed: list[str] = []
    for command in COMMANDS:
        if command[:2] == ["contract", "dry-run"]:
            town.write(FINER)
            town.network.kill(sleeper)
        done = run_tanpo_here(*command)
        assert done.returncode == 0, (command, done.stderr)
        printed.append(done.stdout)
        if command[:2] in (["contract", "propose"], ["contract", "approve"]):
            town.catch_up()
    assert "+ entry rates.quote(name: str," in printed[0]
    assert [text for text in printed if text == RATES] == [printed[3], printed[-1]]
    town.network.start([sleeper], ready_seconds=90)
    town.network.wait_ready()
    for member in town.network.members:
        town.await_rate(member, "EUR", 700)


def check_votes(town: Town) -> None:
    """Nothing is agreed by two of four, nor by one who signs twice, nor called before it is in force."""
    first, second, third, _ = town.network.members
    source = RATES.replace("rates", "yields")
    names = ("-a", "start=5", "-a", 'names=["EUR"]')
    made = town.read("propose", town.write(source, "yields"), *town.profile(first), *names)
    number = str(made["number"])
    assert (made["version"], made["arguments"]["start"]) == (1, 5)
    town.catch_up()
    again = town.run("approve", number, *town.profile(first))
    assert again.returncode == 1
    assert "ALREADY_APPROVED" in again.stderr
    shown = town.read("approve", number, *town.profile(second))
    assert (shown["status"], shown["approvals"], shown["approvals_needed"]) == ("open", [first, second], 3)
    town.catch_up()
    assert town.read("list", "--proposals", *town.dir)[0]["status"] == "open"
    assert town.read("show", number, *town.profile(third))["faults"] == []
    unknown = run_tanpo_here("query", "yields", "rate_of", "-a", "name=EUR", *town.profile(first))
    assert "CONTRACT_UNKNOWN" in unknown.stderr
    assert town.read("approve", number, *town.profile(third))["status"] == "installed"
    town.catch_up()


def check_refused_upgrade(town: Town) -> None:
    first = town.network.members[0]
    rehearsed = town.run("dry-run", town.write(BROKEN), *town.dir, "--blocks", "1")
    reason = "STATE_CHANGED: quoted is stored as int, and would be str; give it another name"
    assert (rehearsed.returncode, rehearsed.stderr) == (1, f"tanpo: {reason}\n")
    town.read("propose", town.write(BROKEN), *town.profile(first))
    town.catch_up()
    refused = town.run("approve", "4", *town.dir, "-o", "json")
    assert (refused.returncode, refused.stderr) == (1, f"tanpo: {reason}\n")
    town.catch_up()
    shown = town.read("show", "4", *town.dir)
    assert (shown["status"], shown["code"]) == ("refused", "STATE_CHANGED")
    assert town.query(first, "EUR") == 700


def check_withdrawal(town: Town) -> None:
    first, second, *_ = town.network.members
    town.read("propose", town.write(FINER + "\n# again\n"), *town.profile(first), "--days", "1")
    town.catch_up()
    denied = town.run("withdraw", "5", *town.profile(second))
    assert "UNAUTHORISED" in denied.stderr
    assert town.read("withdraw", "5", *town.profile(first))["status"] == "withdrawn"
    town.catch_up()
    late = town.run("approve", "5", *town.dir)
    assert (late.returncode, late.stderr.count("\n")) == (1, 1)


def check_history(town: Town) -> None:
    listed = {one["name"]: one for one in town.read("list", *town.dir)}
    assert (listed["rates"]["version"], listed["members"]["version"]) == (2, 1)
    versions = town.read("show", "rates", *town.dir)
    hashes = [sha256(source.encode()).hexdigest() for source in (RATES, FINER)]
    assert [one["source_hash"] for one in versions] == hashes
    assert [one["replaces"] for one in versions] == ["", hashes[0]]
    old = town.run("show", "rates", "--version", "1", "--source", *town.dir)
    assert old.stdout == RATES
    gone = town.run("show", "rates", "--version", "9", *town.dir)
    assert gone.stderr.startswith("tanpo: NOT_FOUND: rates has no such version; value: 9; limit: 1..2; ")


def check_past_views(town: Town) -> None:
    """The state before the upgrade is asked with the contract that was in force then, by every node alike."""
    listed = {one["name"]: one for one in town.read("list", *town.dir)}
    upgraded = listed["rates"]["height"]
    for member in town.network.members[:2]:
        for at, rate in ((upgraded - 1, 7), (upgraded, 700), (upgraded - 1, 7)):
            asked = ("query", "rates", "rate_of", "-a", "name=EUR", "--at", str(at))
            answer = read_json_here(*asked, *town.profile(member))
            assert (answer["value"], answer["height"]) == (rate, at)
    ahead = run_tanpo_here(*asked[:-1], "999999", *town.profile(member))
    assert ahead.stderr.startswith(
        "tanpo: HEIGHT_UNKNOWN: this node does not hold that height; value: 999999"
    )
    before = run_tanpo_here(*asked[:-1], "1", *town.profile(member))
    assert before.stderr.startswith("tanpo: CONTRACT_UNKNOWN: contract rates is not installed")


def check_transactions(town: Town) -> None:
    """Each member finds what concerns it, page by page, on every node."""
    first, second, *_ = town.network.members
    quoted = town.quote(first, "CHF", 3)
    town.catch_up()
    for member in (first, second):
        town.await_rate(member, "CHF", 300)
        ask = ("tx", "list", *town.profile(member), "--member", first)
        listed = read_json_here(*ask, "--limit", "1000")
        assert (listed[0]["tx_id"], listed[0]["call"]) == (quoted["tx_id"], "rates.quote")
        positions = [(one["height"], one["index"]) for one in listed]
        assert positions == sorted(positions, reverse=True)
        assert len(positions) > 3
        last = listed[1]
        older = read_json_here(*ask, "--limit", "2", "--before", f"{last['height']}:{last['index']}")
        assert older == listed[2:4]
    assert "tanpo receipt export ID" in run_tanpo_here(*ask).stdout
    own = read_json_here("tx", "list", *town.profile(second))
    assert quoted["tx_id"] not in [one["tx_id"] for one in own]
    wrong = run_tanpo_here(*ask, "--before", "last")
    assert (wrong.returncode, "last is no HEIGHT:INDEX" in wrong.stderr) == (2, True)


def check_differences(town: Town) -> None:
    first = town.network.members[0]
    town.quote(first, "USD", 9)
    town.catch_up()
    strict = FINER.replace(
        "    rates[name] = rate\n", '    require(rate < 9, "RATE", rate=rate)\n    rates[name] = rate\n'
    )
    found = town.read("dry-run", town.write(strict), *town.dir, "--blocks", "2")
    told = {one["aspect"]: (one["was"], one["would_be"]) for one in found["differences"]}
    assert told["outcome"][0] == "succeeded"
    assert told["outcome"][1].startswith("RATE(rate=9) at rates:")
    assert told["value"] == ("4", "()")
    assert any(aspect.startswith("writes rates.rates ") for aspect in told)


def check_stores(town: Town) -> None:
    """Compare what all nodes hold once they have stopped."""
    town.network.stop()
    network_id = load_genesis(town.network.folder.genesis).network_id
    stores = [
        LedgerStore.open(town.network.folder.get_member(member).data, network_id=network_id)
        for member in town.network.members
    ]
    try:
        lowest = min(store.executed_height for store in stores)
        assert len({store.read_block(Height(lowest)).block_hash for store in stores}) == 1
        roots = {store.state_root for store in stores if store.executed_height == lowest}
        assert len(roots) == 1
    finally:
        for store in stores:
            store.close()


def test_members_install_and_upgrade_contracts_from_the_shell(town: Town) -> None:
    """Each step goes on from what the one before it left."""
    *_, sleeper = town.network.members
    check_bad_source(town)
    town.write(RATES)
    check_guide(town, sleeper)
    check_votes(town)
    check_refused_upgrade(town)
    check_withdrawal(town)
    check_history(town)
    check_past_views(town)
    check_differences(town)
    check_transactions(town)
    town.await_rate(sleeper, "USD", 900)
    # A node that executes its blocks again from the first comes to the same state.
    town.network.stop([sleeper])
    data = town.network.folder.get_member(sleeper).data
    (data / "state").rename(town.folder / "lost")
    town.network.start([sleeper], ready_seconds=90)
    town.network.wait_ready()
    town.await_rate(sleeper, "USD", 900)
    check_stores(town)
