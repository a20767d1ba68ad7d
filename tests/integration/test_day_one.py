"""The guide of the first day does what it says: every command is run as written, with real nodes.

Hosts are folders here, copying between them is copying between folders, and the host names of the guide stand
for ports of loopback. Nothing else is changed.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from string import Template

import pytest
from tanpo.cli.ports import LOOPBACK, PortSlot, claim_slot
from tanpo.testing.commands import run_tanpo_here

GUIDE = Path(__file__).resolve().parents[2] / "deploy" / "day-one.md"
BLOCK = re.compile(r"^```console\n(?P<text>.*?)^```", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^(?P<host>[a-z-]+)\$ (?P<text>.*(?:\n[ ]{4}.*)*)", re.MULTILINE)
ROW = re.compile(r"^\| `(?P<member>[a-z-]+)` \| [^|]* \| `(?P<host>[a-z.]+)` \|$", re.MULTILINE)
RUN = "node run tanpo/node.toml"
PORTS = 3
WAIT_S = 90
NEW_CA = "**Another CA.**"
LEAVING = "## 8."

pytestmark = pytest.mark.timeout(600)


@dataclass(kw_only=True)
class Site:
    """The hosts of all members: their folders, their ports, and the nodes that run on them."""

    root: Path
    slot: PortSlot
    hosts: dict[str, str]
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    printed: dict[str, str] = field(default_factory=dict)
    leaving: str = "nobody"

    @property
    def members(self) -> list[str]:
        return list(self.hosts)

    def resolve(self, text: str) -> str:
        """The text with addresses of loopback for those of the guide."""
        for position, host in enumerate(self.hosts.values()):
            for offset in range(PORTS):
                port = self.slot.base + PORTS * position + offset
                text = text.replace(f"{host}:{7600 + offset}", f"{LOOPBACK}:{port}")
        return text

    def list_members(self, prompt: str) -> list[str]:
        """The members that a prompt stands for."""
        groups = {
            "each": self.members[:4],
            "staying": [one for one in self.members if one != "custody-bank"],
        }
        name = prompt.removesuffix("-node")
        return groups.get(name, [name])

    def get_folder(self, name: str) -> Path:
        folder = self.root / name
        folder.mkdir(exist_ok=True)
        return folder

    def start(self, member: str) -> None:
        folder = self.get_folder(f"{member}-node")
        with (folder / "log").open("ab") as log:
            self.running[member] = subprocess.Popen(
                [sys.executable, "-m", "tanpo.cli", *RUN.split()], cwd=folder, stderr=log
            )

    def stop(self, member: str) -> None:
        process = self.running.pop(member)
        process.terminate()
        assert process.wait(WAIT_S) == 0

    def list_listeners(self, member: str) -> dict[str, str]:
        first = self.slot.base + PORTS * self.members.index(member)
        names = ("TANPO_LISTEN", "TANPO_PEER_LISTEN", "TANPO_OPS_LISTEN")
        return {name: f"{LOOPBACK}:{first + offset}" for offset, name in enumerate(names)}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    hosts = {row["member"]: row["host"] for row in ROW.finditer(GUIDE.read_text())}
    site = Site(root=tmp_path, slot=claim_slot(PORTS * len(hosts)), hosts=hosts)
    try:
        yield site
    finally:
        for process in site.running.values():
            process.kill()
            process.wait()
        site.slot.release()


def expand(word: str, folder: Path) -> list[str]:
    if "*" not in word:
        return [word]
    found = sorted(str(path.relative_to(folder)) for path in folder.glob(word))
    assert found, f"{word} matches nothing in {folder}"
    return found


def copy(site: Site, folder: Path, words: list[str]) -> None:
    """What `scp` does among folders that stand for hosts."""

    def find(word: str) -> list[Path]:
        host, colon, path = word.rpartition(":")
        start = site.get_folder(host) if colon else folder
        return [start / one for one in expand(path or ".", start)]

    *sources, (target,) = (find(word) for word in words if word != "-r")
    for source in (path for paths in sources for path in paths):
        if source.is_dir():
            shutil.copytree(source, target)
        else:
            shutil.copy(source, target)


def says(site: Site, done: subprocess.CompletedProcess[str], words: list[str], member: str) -> bool:
    """Whether a command that the guide asks again has answered what it waits for."""
    match words[:2]:
        case ["node", "status"]:
            return done.returncode == 0
        case ["validator", "list"]:
            return member in done.stdout and site.leaving not in done.stdout
        case _:
            return True


def run_tanpo_on(site: Site, host: str, member: str, words: list[str]) -> None:
    """Run `tanpo` on a host, until it answers what the guide waits for."""
    folder = site.get_folder(host)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, address in site.list_listeners(member).items() if host.endswith("-node") else ():
            patch.setenv(name, address)
        arguments = [one for word in words for one in expand(word, folder)]
        deadline = time.monotonic() + WAIT_S
        done = run_tanpo_here(*arguments)
        # The guide asks until the answer is as it says; each takes as long as the node needs.
        while not says(site, done, words, member) and time.monotonic() < deadline:
            done = run_tanpo_here(*arguments)
    assert done.returncode == 0, f"{host}$ {shlex.join(words)}\n{done.stdout}{done.stderr}"
    if "--remove" in words:
        site.leaving = words[words.index("--remove") + 1].partition("/")[0]
    site.printed[f"{host}$ {' '.join(words[:3])}"] = done.stdout


def change_files(site: Site, folder: Path, program: str, words: list[str]) -> None:
    """What the commands do that every system has."""
    match program, words:
        case "scp", _:
            copy(site, folder, words)
        case "mv", [*names, last]:
            target = folder / last
            for name in names:
                (folder / name).replace(target / Path(name).name if target.is_dir() else target)
        case "cp", [source, last]:
            shutil.copy(folder / source, folder / last)
        case "cat", [source, ">>", last]:
            with (folder / last).open("ab") as file:
                file.write((folder / source).read_bytes())
        case "rm", ["-r", name]:
            shutil.rmtree(folder / name)
        case _:
            pytest.fail(f"the guide has a command that no host here has: {program} {shlex.join(words)}")


def run(site: Site, host: str, member: str, text: str) -> None:
    """Run one command of the guide on a host, and fail unless it succeeds."""
    spelt = Template(site.resolve(text.replace("\\\n", " "))).substitute(MEMBER=member)
    program, *words = shlex.split(spelt)
    if program == "tanpo":
        run_tanpo_on(site, host, member, words)
    elif program == "systemctl":
        with pytest.MonkeyPatch.context() as patch:
            for name, address in site.list_listeners(member).items():
                patch.setenv(name, address)
            {"start": site.start, "stop": site.stop}[words[0]](member)
    else:
        change_files(site, site.get_folder(host), program, words)


def test_every_command_of_the_guide_comes_out_as_it_says(site: Site) -> None:
    guide, ran, moved = GUIDE.read_text(), 0, 0
    for block in BLOCK.finditer(guide):
        commands = list(COMMAND.finditer(block["text"]))
        assert "".join(f"{one.group()}\n" for one in commands) == block["text"]
        for command in commands:
            suffix = "-node" if command["host"].endswith("-node") else ""
            for member in site.list_members(command["host"]):
                run(site, member + suffix, member, command["text"])
                ran += 1
                if NEW_CA in guide[: block.start()] and LEAVING in guide[block.end() :]:
                    moved += show_that_all_goes_on(site)

    assert f"ExecStart=/usr/local/bin/tanpo {RUN}\n" in guide
    assert ran > 100
    assert "250000" in site.printed["dealer-a$ query -p dealer-a/client/profile.toml"]
    assert "fund-house" in site.printed["fund-house$ validator list -p"]
    assert moved > 20
    check_end(site)
    check_old_authority_is_refused(site)
    check_nodes_start_anew(site)


def show_that_all_goes_on(site: Site) -> int:
    """Move a yen from the member whose CA is replaced, and one from another: each a client that connects."""
    circle = (("dealer-a", "trust-bank"), ("trust-bank", "dealer-a"))
    for payer, payee in circle:
        command = f"tanpo tx submit instruments transfer -p {payer}/client/profile.toml -a deliverer={payer}"
        run(site, payer, payer, f"{command} -a receiver={payee} -a instrument=yen-deposit -a quantity=1")
    return len(circle)


def check_old_authority_is_refused(site: Site) -> None:
    """A certificate of the CA that was replaced opens nothing, where one of the new CA does."""
    folder = site.root / "dealer-a" / "dealer-a"
    profile, old = str(folder / "client" / "profile.toml"), folder / "ca"
    assert run_tanpo_here("member", "list", "-p", profile).returncode == 0
    made = ("--ca", str(old / "ca.crt"), "--ca-key", str(old / "ca.key"), "--out", str(folder / "late"))
    run_tanpo_here("cert", "issue", "client", "client", "--member", "dealer-a", *made).check_returncode()
    for path in (folder / "late").iterdir():
        path.replace(folder / "client" / path.name)

    refused = run_tanpo_here("member", "list", "-p", profile)

    assert refused.returncode == 1
    assert refused.stderr.startswith("tanpo: UNREACHABLE: ")
    assert "accepts our certificate" in refused.stderr


def check_nodes_start_anew(site: Site) -> None:
    """The node with the new CA comes back to its peers, and another with the genesis' CAs to it."""
    for member in ("dealer-a", "dealer-b"):
        for verb in ("stop", "start"):
            run(site, f"{member}-node", member, f"systemctl {verb} tanpo")
        run(site, member, member, f"tanpo node status -p {member}/client/operator.toml")


def check_end(site: Site) -> None:
    """The fifth member votes, the one that left is none, and every secret is where the guide says."""
    profile = str(site.root / "fund-house" / "fund-house" / "client" / "profile.toml")
    listed = json.loads(run_tanpo_here("validator", "list", "-p", profile, "-o", "json").stdout)
    members = json.loads(run_tanpo_here("member", "list", "-p", profile, "-o", "json").stdout)["members"]

    assert {row["member"] for row in listed["validators"]} == set(site.members) - {"custody-bank"}
    assert {row["member"] for row in members} == set(site.members) - {"custody-bank"}
    (own_key,) = next(row["key_ids"] for row in members if row["member"] == "dealer-b")
    path = str(site.root / "dealer-b" / "dealer-b" / "client" / "transaction.key")
    assert own_key == json.loads(run_tanpo_here("key", "show", path, "-o", "json").stdout)["key_id"]
    assert "stream ended" in (site.get_folder("trust-bank-node") / "log").read_text()
    for member in site.members:
        assert not list(site.get_folder(member).rglob("validator.key"))
        on_node = {path.name for path in site.get_folder(f"{member}-node").rglob("*.key")}
        assert on_node == {"node.key", "validator.key"}
    assert not list((site.root / "share").rglob("*.key"))
    modes = {path.stat().st_mode & 0o777 for path in site.root.rglob("*.key")}
    assert modes == {0o600}
