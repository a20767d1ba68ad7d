"""Setting up alone, and the genesis ceremony: what is made, what is refused, and with which words."""

from __future__ import annotations

import json
import shutil
import stat
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tanpo.cli.founding.cards import ROLES
from tanpo.cli.samples import load_catalog
from tanpo.contracts import load_source
from tanpo.ledger.genesis import Genesis, genesis_from_json
from tanpo.ledger.lei import is_lei
from tanpo.testing import Ledger
from tanpo.testing.commands import read_json_here, run_tanpo_here

MEMBERS = ("trust-bank", "dealer-a", "dealer-b")
LEIS = {one.member: one.lei for one in load_catalog().members}
OTHER_LEI = "3538TANPOCUSTODY0018"


def init(folder: Path, member: str, /, **given: str) -> tuple[str, ...]:
    wanted = {
        "member": member,
        "name": f"Bank {member}",
        "lei": LEIS.get(member, OTHER_LEI),
        "role": "participant",
        "address": f"{member}.example:7600",
        "peer-address": f"{member}.example:7601",
        **given,
    }
    options = [text for name, value in wanted.items() for text in (f"--{name}", value)]
    return ("member", "init", str(folder), *options)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three members' folders, a genesis of their cards, and their signatures."""
    root = tmp_path_factory.mktemp("ceremony")
    for member in MEMBERS:
        read_json_here(*init(root / member, member))
        shutil.copy(root / member / f"{member}.card", root)
    cards = [str(root / f"{member}.card") for member in MEMBERS]
    genesis = str(root / "genesis.json")
    read_json_here("genesis", "propose", *cards, "--network", "pilot", "--out", genesis)
    for member in MEMBERS:
        sign(root, member, genesis, root / f"{member}.signature")
    return root


@pytest.fixture
def ring(made: Path, tmp_path: Path) -> Path:
    """A copy, to be spoilt."""
    return Path(shutil.copytree(made, tmp_path / "ring"))


def sign(root: Path, member: str, genesis: str, out: Path) -> None:
    key = root / member / "client" / "transaction.key"
    card = root / f"{member}.card"
    read_json_here("genesis", "sign", genesis, "--card", str(card), "--key", str(key), "--out", str(out))


def verify(root: Path, *members: str) -> tuple[str, ...]:
    signatures = [str(root / f"{member}.signature") for member in members]
    return ("genesis", "verify", str(root / "genesis.json"), *signatures)


def configure(root: Path, member: str) -> tuple[str, ...]:
    papers = [str(path) for kind in ("card", "signature") for path in sorted(root.glob(f"*.{kind}"))]
    genesis = str(root / "genesis.json")
    return ("member", "configure", str(root / member), "--genesis", genesis, *papers)


def load_genesis(path: Path) -> Genesis:
    return genesis_from_json(path.read_text())


def refuse(*arguments: str) -> str:
    """Run a command that must fail, and return the one line that it says."""
    done = run_tanpo_here(*arguments)
    assert done.returncode == 1, done.stdout
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("tanpo: ")
    assert "remedy: " in line
    return line


def change(path: Path, edit: Callable[[Any], object]) -> None:
    document = json.loads(path.read_text())
    edit(document)
    path.write_text(json.dumps(document))


def test_every_key_is_its_owners_alone_and_the_cas_is_apart_from_the_node(made: Path) -> None:
    for member in MEMBERS:
        root = made / member
        keys = {str(path.relative_to(root)) for path in root.rglob("*.key")}

        assert keys == {
            "ca/ca.key",
            "client/client.key",
            "client/operator.key",
            "client/transaction.key",
            "node/node.key",
            "node/validator.key",
        }
        assert {stat.S_IMODE((root / key).stat().st_mode) for key in keys} == {0o600}
        assert {stat.S_IMODE(path.stat().st_mode) for path in root.iterdir() if path.is_dir()} == {0o700}
        card = (root / f"{member}.card").read_text()
        assert "PRIVATE" not in card


def test_a_folder_that_exists_is_never_touched(ring: Path) -> None:
    before = {path: path.read_bytes() for path in ring.rglob("*") if path.is_file()}
    line = refuse(*init(ring / "dealer-a", "dealer-a"))

    assert "there is such a file already" in line
    assert "nothing is overwritten" in line
    assert {path: path.read_bytes() for path in ring.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"lei": "3538TANPODEALERA0029"}, "the LEI is wrong; value: 3538TANPODEALERA0029"),
        ({"lei": "x"}, "the LEI is wrong; value: x"),
        ({"role": "king"}, "there is no such role; value: king; limit: registrar, custodian"),
        ({"member": "Dealer A"}, "the member has a wrong form; value: Dealer A"),
        ({"node": "1"}, "the node has a wrong form; value: 1"),
        ({"address": "bank.example"}, "the address has a wrong form; value: bank.example; limit: HOST:PORT"),
        ({"address": "bank.example:70000"}, "a port that does not exist; value: bank.example:70000"),
        ({"peer-address": "dealer-a.example:7600"}, "clients and peers have the same address"),
        ({"name": "Two\nlines"}, "the name is not one"),
        ({"host": "b@nk"}, "a host name has a wrong form; value: b@nk"),
    ],
)
def test_what_a_member_cannot_say_of_itself_is_refused_before_anything_is_made(
    given: dict[str, str], words: str, tmp_path: Path
) -> None:
    assert words in refuse(*init(tmp_path / "new", "dealer-a", **given))
    assert list(tmp_path.iterdir()) == []


def test_a_host_name_that_no_certificate_takes_is_refused(made: Path, tmp_path: Path) -> None:
    ca = [str(path) for path in (made / "dealer-a" / "ca" / "ca.crt", made / "dealer-a" / "ca" / "ca.key")]
    wanted = ("cert", "issue", "node", "node-1", "--member", "dealer-a", "--ca", ca[0], "--ca-key", ca[1])
    line = refuse(*wanted, "--host", "bänk", "--out", str(tmp_path / "out"))

    assert "a host name has a wrong form; value: bänk" in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("peer_address", "thief.example:7601", "the signature with the ca key is wrong"),
        ("roles", ["registrar"], "the signature with the ca key is wrong"),
        ("validator_signature", "00", "the signature with the validator key is wrong"),
        ("transaction_signature", "", "the signature with the transaction key is wrong"),
        ("lei", OTHER_LEI[:-1] + "9", "the LEI is wrong"),
        ("ca_certificate", "nothing", "the CA's certificate is not one"),
        ("name", "\ud800", "the name is not one"),
        ("roles", "participant", "field 'roles' is no list"),
        ("member", 7, "field 'member' is no text"),
        ("version", 2, "has a version other than 1"),
    ],
)
def test_a_card_that_was_changed_gets_one_line(field: str, value: object, words: str, ring: Path) -> None:
    card = ring / "dealer-a.card"
    change(card, lambda document: document.update({field: value}))

    line = refuse("member", "show", str(card))
    assert words in line
    assert "dealer-a.card" in line


def test_nobody_can_put_anothers_key_on_a_card_of_their_own(ring: Path) -> None:
    other = json.loads((ring / "dealer-b.card").read_text())
    change(ring / "dealer-a.card", lambda card: card.update(validator_key=other["validator_key"]))

    assert "signature with the ca key is wrong" in refuse("member", "show", str(ring / "dealer-a.card"))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"member": "dealer-b"}, "a member is on two cards, "),
        ({"lei": LEIS["dealer-b"]}, "an LEI is on two cards, "),
    ],
)
def test_two_cards_that_share_what_is_one_members_alone_are_named(
    given: dict[str, str], words: str, ring: Path
) -> None:
    read_json_here(*init(ring / "rival", "custody-bank", **given))
    (rival,) = (ring / "rival").glob("*.card")
    cards = [str(ring / "dealer-b.card"), str(rival)]
    out = ring / "other.json"
    line = refuse("genesis", "propose", *cards, "--network", "pilot", "--out", str(out))

    assert words in line
    assert all(card in line for card in cards)
    assert not out.exists()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("--limit", "block_gas_max=many"), "block_gas_max is no whole number; value: many"),
        (("--limit", "gas=1"), "there is no such limit; value: gas=1; limit: block_transactions_max"),
        (("--limit", "gas_limit_max=0"), "gas_limit_max is 0, the least is 1"),
        (("--observer", "nobody"), "there is no card of this observer; value: nobody"),
        (tuple(f"--observer={member}" for member in MEMBERS), "0 validators, allowed 1..64"),
        (("--network", "A Net"), "the network's name has a wrong form; value: A Net"),
    ],
)
def test_a_genesis_that_no_node_could_start_with_is_not_proposed(
    given: tuple[str, ...], words: str, ring: Path
) -> None:
    cards = [str(ring / f"{member}.card") for member in MEMBERS]
    out = ring / "other.json"

    assert words in refuse("genesis", "propose", *cards, "--network", "pilot", "--out", str(out), *given)
    assert not out.exists()


def test_a_proposal_is_told_in_plain_words(made: Path) -> None:
    cards = [str(made / f"{member}.card") for member in MEMBERS[:2]]
    told = run_tanpo_here("genesis", "show", str(made / "genesis.json"), *cards).stdout
    shown = read_json_here("member", "show", cards[0])

    genesis = load_genesis(made / "genesis.json")
    assert f"Its id is {genesis.network_id.hex()}" in told
    assert f'trust-bank: "Bank trust-bank", LEI {LEIS["trust-bank"]}, as participant.' in told
    assert shown["ca_fingerprint"] in told
    assert "NONE OF THEM MAY BE FAULTY" in told
    assert told.count("as in this installation") == len(genesis.contracts)
    assert "500 transactions in a block." in told
    assert told.endswith("NOT COMPARED WITH A CARD: dealer-b.\n")


def test_what_is_not_as_usual_stands_out(ring: Path) -> None:
    path = ring / "genesis.json"

    def edit(document: Any) -> None:
        document["parameters"]["block_transactions_max"] = 7
        (contract,) = [one for one in document["contracts"] if one["name"] == "collateral"]
        contract["source"] += "\n"
        document["members"][2]["lei"] = LEIS["dealer-b"][:-1] + "0"

    change(path, edit)
    told = run_tanpo_here("genesis", "show", str(path)).stdout

    assert "collateral: NOT AS IN THIS INSTALLATION: read it" in told
    assert "7 transactions in a block (ordinarily 500)." in told
    assert "WHOSE CHECK DIGITS ARE WRONG" in told


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda g: g["members"][1].update(name="Thief"), "the genesis has another name for dealer-a"),
        (lambda g: g["members"][1].update(lei=""), "the genesis has another LEI for dealer-a"),
        (
            lambda g: g["members"][1].update(ca_certificate=g["members"][0]["ca_certificate"]),
            "the genesis has another CA for dealer-a",
        ),
        (lambda g: g["members"][1].update(keys=[]), "the genesis has another transaction key for dealer-a"),
        (lambda g: g["validators"][1].update(node="spy"), "the genesis has another validator for dealer-a"),
        (lambda g: g["members"].pop(1), "belongs to unknown member 'dealer-a'"),
    ],
)
def test_a_proposal_that_says_something_else_than_a_card_is_neither_shown_nor_signed(
    edit: Callable[[Any], object], words: str, ring: Path
) -> None:
    genesis, card, out = ring / "genesis.json", ring / "dealer-a.card", ring / "new.signature"
    change(genesis, edit)
    key = ring / "dealer-a" / "client" / "transaction.key"

    assert words in refuse("genesis", "show", str(genesis), str(card))
    for argument in (str(card), str(ring / "dealer-b.card")):
        done = run_tanpo_here(
            "genesis", "sign", str(genesis), "--card", argument, "--key", str(key), "--out", str(out)
        )
        assert done.returncode == 1
    assert not out.exists()


def test_members_are_in_the_genesis_once(ring: Path) -> None:
    """The contract starts with those that everybody reads, so nothing else may be said of them."""
    genesis = ring / "genesis.json"

    def edit(document: Any) -> None:
        (contract,) = [one for one in document["contracts"] if one["name"] == "members"]
        contract["arguments"]["members"] = [{"member": "dealer-a", "roles": ["registrar"]}]

    change(genesis, edit)

    card, key = str(ring / "dealer-a.card"), str(ring / "dealer-a" / "client" / "transaction.key")
    sign_it = ("genesis", "sign", str(genesis), "--card", card, "--key", key, "--out", str(ring / "new"))
    for command in (("genesis", "show", str(genesis)), sign_it):
        assert "takes the members of the genesis itself" in refuse(*command)


def test_only_the_members_own_key_signs_for_it(ring: Path) -> None:
    card, out = str(ring / "dealer-a.card"), str(ring / "new.signature")
    key = str(ring / "dealer-b" / "client" / "transaction.key")
    line = refuse("genesis", "sign", str(ring / "genesis.json"), "--card", card, "--key", key, "--out", out)

    assert "SIGNATURE_FOREIGN: this is not the key that signs for dealer-a" in line


def test_a_genesis_counts_when_all_members_signed_it(made: Path) -> None:
    told = read_json_here(*verify(made, *MEMBERS))

    assert told["signed_by"] == list(MEMBERS)
    assert told["network_id"] == load_genesis(made / "genesis.json").network_id.hex()

    line = refuse(*verify(made, "trust-bank"))
    assert "SIGNATURE_MISSING: 2 of 3 members did not sign this genesis; value: dealer-a, dealer-b" in line


def test_two_proposals_of_one_name_are_told_apart(ring: Path) -> None:
    cards = [str(ring / f"{member}.card") for member in MEMBERS]
    other = str(ring / "other.json")
    limit = ("--limit", "block_transactions_max=499")
    read_json_here("genesis", "propose", *cards, "--network", "pilot", "--out", other, *limit)
    (ring / "dealer-b.signature").unlink()
    sign(ring, "dealer-b", other, ring / "dealer-b.signature")
    line = refuse(*verify(ring, *MEMBERS))

    assert "dealer-b signed another genesis, of the same name" in line
    assert f"value: network id {load_genesis(Path(other)).network_id.hex()}" in line
    assert f"limit: network id {load_genesis(ring / 'genesis.json').network_id.hex()}" in line


def test_a_signature_is_its_makers_alone(ring: Path) -> None:
    change(ring / "dealer-b.signature", lambda one: one.update(member="dealer-a"))
    assert "the signature of dealer-a is wrong" in refuse(*verify(ring, *MEMBERS))

    change(ring / "dealer-b.signature", lambda one: one.update(member="thief"))
    assert "the signature is of nobody in the genesis; value: thief" in refuse(*verify(ring, *MEMBERS))

    line = refuse("genesis", "verify", str(ring / "genesis.json"), str(ring / "dealer-a.card"))
    assert "is no tanpo-genesis-signature file" in line


def test_a_node_is_configured_with_what_all_signed_and_never_anew(ring: Path) -> None:
    told = read_json_here(*configure(ring, "dealer-a"))
    node, client = ring / "dealer-a" / "node", ring / "dealer-a" / "client"

    assert told["signed_by"] == list(MEMBERS)
    written = (ring / "genesis.json").read_bytes()
    assert (node / "genesis.json").read_bytes() == (client / "genesis.json").read_bytes() == written
    # The member's files are of one make: the node would start with them.
    checked = run_tanpo_here("node", "config", "check", str(node / "node.toml"), "-o", "json")
    assert checked.returncode == 0, checked.stdout
    assert (client / "authorities.pem").read_text().count("BEGIN CERTIFICATE") == len(MEMBERS)

    before = (node / "node.toml").read_bytes()
    assert "there is such a file already" in refuse(*configure(ring, "dealer-a"))
    assert (node / "node.toml").read_bytes() == before


@pytest.mark.parametrize(
    ("lost", "words"),
    [
        ("dealer-b.signature", "1 of 3 members did not sign this genesis; value: dealer-b"),
        ("dealer-b.card", "the cards of validators are missing"),
    ],
)
def test_no_node_is_configured_with_papers_that_are_not_complete(lost: str, words: str, ring: Path) -> None:
    (ring / lost).unlink()

    assert words in refuse(*configure(ring, "dealer-a"))
    assert not (ring / "dealer-a" / "node" / "node.toml").exists()


def test_the_card_of_whom_the_members_admitted_later_is_no_obstacle(ring: Path) -> None:
    for member, lei in (("later", "3538TANPOFUJIFUND055"), ("latest", "3538TANPODEALERC0010")):
        read_json_here(*init(ring / member, member, lei=lei))
        shutil.copy(ring / member / f"{member}.card", ring)

    for member in ("dealer-a", "latest"):
        told = read_json_here(*configure(ring, member))
        assert told["signed_by"] == list(MEMBERS)
        peers = tomllib.loads((ring / member / "node" / "node.toml").read_text())["peers"]
        assert {one["member"] for one in peers} == set(MEMBERS) - {member}


def test_a_foreign_file_among_the_papers_is_named(ring: Path) -> None:
    (ring / "foreign.card").write_text("hello")

    assert "foreign.card is neither a card nor a signature" in refuse(*configure(ring, "dealer-a"))


def test_cards_know_the_roles_that_the_contract_knows() -> None:
    (line,) = [one for one in load_source("members").splitlines() if one.startswith("ROLE_NAMES")]

    assert set(line.split('"')[1].split()) == set(ROLES)


@pytest.mark.parametrize(
    "lei", ["", *LEIS.values(), OTHER_LEI[:-1] + "9", OTHER_LEI.lower(), OTHER_LEI + "0", "٣" + OTHER_LEI[1:]]
)
def test_an_lei_is_one_for_a_card_as_for_the_contracts(lei: str) -> None:
    ledger = Ledger()
    ledger.deploy("members", arguments={"members": (), "voters": ()})
    ledger.deploy("instruments", arguments={"contracts": ()})

    assert is_lei(lei) == ledger.view("instruments", "is_lei", lei=lei)
