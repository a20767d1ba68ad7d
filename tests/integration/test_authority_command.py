"""`tanpo member authority` on a network of processes: by the vote of the others, and what is refused."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from tanpo.cli import membership
from tanpo.cli.layout import MemberFiles
from tanpo.cli.network import LocalNetwork
from tanpo.cli.provision import plan_network
from tanpo.ledger.transaction import SIGNERS_MAX
from tanpo.testing.commands import read_json_here, run_tanpo_here
from tanpo.testing.waiting import poll_until

MEMBER = "dealer-b"
WAIT_S = 60

pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalNetwork]:
    network = LocalNetwork.create(tmp_path_factory.mktemp("authorities") / "net", plan_network(4))
    try:
        network.start()
        yield network
    finally:
        network.stop()


def make_authority(folder: Path) -> Path:
    made = read_json_here(
        "member", "authority", "create", str(folder), "--member", MEMBER, "--name", "Botan Capital Markets"
    )
    return Path(made["certificate"])


def list_authorities(files: MemberFiles) -> list[str]:
    members = read_json_here("member", "list", "-p", str(files.profile))["members"]
    (found,) = (row["authorities"] for row in members if row["member"] == MEMBER)
    return [one["sha256"] for one in found]


def examine_peer(network: LocalNetwork) -> dict[str, str]:
    """What the doctor of dealer-a says of the node of the member whose CA changes."""
    done = run_tanpo_here("node", "doctor", str(network.folder.get_member("dealer-a").config), "-o", "json")
    (found,) = [one for one in json.loads(done.stdout) if one["what"] == f"peer {MEMBER}/node-1"]
    return dict(found)


def vote(network: LocalNetwork, folder: Path, *authorities: Path) -> None:
    """Have the three others draft, sign, seal and send a change of the member's CAs."""
    genesis = str(network.folder.genesis)
    others = [one for one in [str(place.member) for place in network.folder.load_manifest()] if one != MEMBER]
    draft, envelope = folder / "ca.draft", folder / "ca.envelope"
    profile = str(network.folder.get_member(others[0]).profile)
    signers = [word for one in others for word in ("--signer", one)]
    drafted = read_json_here(
        *("member", "authority", "replace", *map(str, authorities), "--member", MEMBER, "-p", profile),
        *(*signers, "--draft", str(draft)),
    )
    assert (drafted["signers"], drafted["authorities"]) == (sorted(others), len(authorities))
    parts = [folder / f"{one}.part" for one in others]
    for one, part in zip(others, parts, strict=True):
        key = str(network.folder.get_member(one).transaction_key)
        read_json_here("tx", "sign", str(draft), "--genesis", genesis, "--key", key, "--out", str(part))
    read_json_here("tx", "seal", str(draft), *map(str, parts), "--genesis", genesis, "--out", str(envelope))
    read_json_here("tx", "send", str(envelope), "-p", profile)


def test_the_others_replace_the_ca_of_a_member_by_a_draft_that_goes_round(
    network: LocalNetwork, tmp_path: Path
) -> None:
    files = network.folder.get_member(MEMBER)
    old, new = files.pem("ca")[0], make_authority(tmp_path / "ca-2")
    before = list_authorities(files)

    vote(network, tmp_path, old, new)

    poll_until(lambda: len(list_authorities(files)) == 2, seconds=WAIT_S)
    assert list_authorities(files)[0] == before[0]
    replace = ("member", "authority", "replace")
    locked_out = run_tanpo_here(*replace, str(new), "-p", str(files.profile))
    assert locked_out.returncode == 1
    assert "none of these CAs issued the certificate of this profile" in locked_out.stderr
    assert len(list_authorities(files)) == 2
    read_json_here(*replace, str(old), "-p", str(files.profile))
    assert list_authorities(files) == before


def test_a_node_takes_over_no_certificate_of_a_ca_that_the_members_do_not_know(
    network: LocalNetwork, tmp_path: Path
) -> None:
    files = network.folder.get_member(MEMBER)
    old, new = files.pem("ca")[0], make_authority(tmp_path / "ca-2")
    issued = read_json_here(
        *("cert", "issue", "node", "node-1", "--member", MEMBER, "--out", str(tmp_path / "new")),
        *("--ca", str(new), "--ca-key", str(new.with_suffix(".key"))),
    )
    first = old.with_name("first.crt")
    first.write_bytes(old.read_bytes())
    read_json_here(
        *("cert", "install", str(files.config), "--ca", str(new)),
        *("--certificate", issued["certificate"], "--key", issued["key"]),
    )
    rotate = ("cert", "rotate", "-p", str(files.operator_profile))

    refused = run_tanpo_here(*rotate)

    assert refused.returncode == 1
    assert "tls.ca is not a CA that the members know of dealer-b" in refused.stderr
    read_json_here("member", "authority", "replace", str(first), str(new), "-p", str(files.profile))
    rotations: list[subprocess.CompletedProcess[str]] = []

    def is_taken_over() -> bool:
        rotations.append(run_tanpo_here(*rotate, "-o", "json"))
        return rotations[-1].returncode == 0

    poll_until(is_taken_over)
    assert json.loads(rotations[-1].stdout)["rotated"]

    # The genesis of the others still names the CA that this node's certificate is not of any more.
    poll_until(lambda: examine_peer(network)["health"] == "ok", seconds=WAIT_S)
    network.stop(["dealer-a"])
    unknown = examine_peer(network)
    assert unknown["health"] == "warn"
    assert "by the CAs of the genesis" in unknown["detail"]
    assert "its `ca`, if its member has another now" in unknown["remedy"]
    network.start(["dealer-a"])


def test_a_ca_with_the_subject_of_another_members_is_not_sent(network: LocalNetwork, tmp_path: Path) -> None:
    files = network.folder.get_member(MEMBER)
    other = x509.load_pem_x509_certificate(network.folder.get_member("dealer-a").pem("ca")[0].read_bytes())
    old, twin = files.pem("ca")[0], tmp_path / "twin.crt"
    key = ec.generate_private_key(ec.SECP256R1())
    made = (
        x509.CertificateBuilder(subject_name=other.subject, issuer_name=other.subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(other.not_valid_before_utc)
        .not_valid_after(other.not_valid_after_utc)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    twin.write_bytes(made.public_bytes(Encoding.PEM))
    before = list_authorities(files)

    refused = run_tanpo_here("member", "authority", "replace", str(old), str(twin), "-p", str(files.profile))

    assert refused.returncode == 1
    assert "a CA of dealer-a has the subject of this one, and had it first" in refused.stderr
    assert list_authorities(files) == before


def make_card(folder: Path) -> Path:
    made = ("--member", "fund-house", "--name", "Fuji Fund House", "--lei", "3538TANPOFUJIFUND055")
    places = ("--address", "127.0.0.1:7600", "--peer-address", "127.0.0.1:7601")
    read_json_here("member", "init", str(folder), *made, *places)
    return folder / "fund-house.card"


def test_the_name_of_a_dismissed_member_is_given_away_only_if_its_accounts_are_meant(
    network: LocalNetwork, tmp_path: Path
) -> None:
    first, second = (make_card(tmp_path / name) for name in ("first", "second"))
    everybody = ("--dir", str(network.folder.root))
    admit = ("member", "admit")
    unknown = run_tanpo_here(*admit, str(first), *everybody, "--takes-over")
    assert (unknown.returncode, "there is nothing to take over" in unknown.stderr) == (2, True)
    read_json_here(*admit, str(first), *everybody)
    read_json_here("member", "dismiss", "fund-house", *everybody)

    refused = run_tanpo_here(*admit, str(second), *everybody)

    assert refused.returncode == 2
    assert "Fuji Fund House had this name until block" in refused.stderr
    assert "say --takes-over if these accounts are to be the newcomer's" in refused.stderr
    read_json_here(*admit, str(second), *everybody, "--takes-over")
    read_json_here("member", "dismiss", "fund-house", *everybody)


def test_nobody_is_admitted_with_whom_no_vote_could_pass_any_more(
    network: LocalNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert 3 * SIGNERS_MAX > 2 * membership.MEMBERS_MAX
    assert 3 * SIGNERS_MAX <= 2 * (membership.MEMBERS_MAX + 1)
    monkeypatch.setattr(membership, "MEMBERS_MAX", 4)
    card = make_card(tmp_path / "fund-house")

    refused = run_tanpo_here("member", "admit", str(card), "--dir", str(network.folder.root))

    assert refused.returncode == 2
    assert "too few for any later vote; value: 4 members; limit: 4 members; " in refused.stderr
    members = read_json_here("member", "list", "--dir", str(network.folder.root))["members"]
    assert "fund-house" not in {row["member"] for row in members}
