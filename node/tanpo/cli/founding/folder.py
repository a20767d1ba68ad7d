"""The folder of an institution that sets itself up alone.

ca/        the CA's certificate and key: kept off the node and off the network
client/    the transaction key, certificates of a client and an operator; later profiles, genesis and all CAs
node/      what goes to the node's host: its certificate and key, the key that it votes with; later node.toml
MEMBER.card    what the others need to know, in public
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tanpo.cli.founding.assembling import check_cards
from tanpo.cli.founding.cards import Card, Facts, check_facts, check_host, load_card, save_card
from tanpo.cli.founding.creating import create_file, refuse_existing
from tanpo.cli.founding.papers import GenesisFile
from tanpo.cli.founding.secrets import (
    create_secrets,
    write_authority,
    write_client_secrets,
    write_node_secrets,
)
from tanpo.cli.founding.settings import Place, Sharing, write_config, write_profiles
from tanpo.cli.founding.signing import check_card
from tanpo.cli.layout import MemberFiles, NodePlace
from tanpo.client.keyfile import save_key
from tanpo.ledger.errors import Reason, UsageError
from tanpo.ledger.genesis import Genesis
from tanpo.ledger.types import MemberId
from tanpo.node.config import split_address

GENESIS = "genesis.json"
AUTHORITIES = "authorities.pem"
ANY_HOST = "0.0.0.0"  # noqa: S104 - both ports ask for a member's certificate
ANY_HOST_6 = "[::]"


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberFolder:
    """The paths of an institution's files."""

    root: Path

    @property
    def authority(self) -> MemberFiles:
        """What only issues certificates."""
        return MemberFiles(root=self.root / "ca")

    @property
    def client(self) -> MemberFiles:
        """What acts for the member."""
        return MemberFiles(root=self.root / "client")

    @property
    def node(self) -> MemberFiles:
        """What goes to the node's host."""
        return MemberFiles(root=self.root / "node")

    def get_card(self, member: str) -> Path:
        """Return the path of the member's card."""
        return self.root / f"{member}.card"

    def load_card(self) -> Card:
        """Return the card. Raises `UsageError` unless there is just one, and it is whole."""
        found = sorted(self.root.glob("*.card"))
        if len(found) != 1:
            raise UsageError(
                Reason.NOT_FOUND,
                "this is not the folder of a member: it does not hold one card",
                value=self.root,
                limit="a folder made by `tanpo member init`",
                remedy="name that folder, or make one",
            )
        return load_card(found[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class Introduction:
    """What an institution says of itself; `hosts` are further names and addresses of its node."""

    member: str
    name: str
    lei: str
    roles: tuple[str, ...]
    node: str
    address: str
    peer_address: str
    hosts: tuple[str, ...]


def create_member(root: Path, given: Introduction) -> Facts:
    """Make a member's folder: all keys, certificates and the card. It appears whole, or not at all.

    Raises:
        UsageError: what is said cannot be so, or there is such a folder already.
    """
    check_facts(_to_facts(given), "the member")
    for host in given.hosts:
        check_host(host)
    if root.exists():
        raise refuse_existing(root)
    root.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{root.name}.", dir=root.parent))
    try:
        facts = _write_member(MemberFolder(root=scratch), given)
        # It replaces nothing: a folder that holds a file is in its way.
        scratch.rename(root)
    except BaseException:
        shutil.rmtree(scratch)
        raise
    return facts


def configure_member(
    folder: MemberFolder, read: GenesisFile, cards: Sequence[Card], ops_listen: str
) -> tuple[Path, ...]:
    """Write what node and clients need to start with a genesis that all members signed; return the files.

    The member may be one that is admitted later: then the genesis does not name it.

    Raises:
        UsageError: the genesis does not say what the cards say, a validator's card is missing, or one of the
            files is there already.
    """
    own, genesis = folder.load_card(), read.genesis
    _check_own(genesis, own)
    places = _find_places(genesis, cards, own)
    client, node = folder.client, folder.node
    copies = (node.root / GENESIS, client.root / GENESIS)
    wanted = (*copies, node.config, client.root / AUTHORITIES, client.profile, client.operator_profile)
    for path in wanted:
        if path.exists():
            raise refuse_existing(path)
    for path in copies:
        create_file(path, read.content)
    authorities = (own.facts.ca_certificate, *(one.ca_certificate for one in genesis.members))
    create_file(client.root / AUTHORITIES, b"".join(dict.fromkeys(authorities)))
    place = _to_place(own.facts)
    write_profiles(client, place, (), genesis=GENESIS, authorities=AUTHORITIES)
    write_config(
        node,
        place,
        places,
        Place(
            listen=_listen_everywhere(place.address),
            peer_listen=_listen_everywhere(place.peer_address),
            ops_listen=ops_listen,
            data_dir=Path(node.data.name),
            genesis=Path(GENESIS),
        ),
        Sharing(),
    )
    return wanted


def _write_member(folder: MemberFolder, given: Introduction) -> Facts:
    for files in (folder.authority, folder.client, folder.node):
        files.root.mkdir(mode=0o700)
    secrets = create_secrets(MemberId(given.member), given.name)
    hosts = tuple(split_address(address)[0] for address in (given.address, given.peer_address))
    write_authority(folder.authority, secrets.authority)
    write_client_secrets(folder.client, secrets)
    write_node_secrets(folder.node, secrets.authority, given.node, (*hosts, *given.hosts))
    save_key(folder.node.validator_key, secrets.validator)
    facts = _to_facts(
        given,
        ca_certificate=secrets.authority.certificate_pem,
        validator_key=secrets.validator.public_key.encoded,
        transaction_key=secrets.transaction.public_key.encoded,
    )
    save_card(folder.get_card(given.member), facts, secrets)
    return facts


def _to_facts(
    given: Introduction,
    *,
    ca_certificate: bytes = b"",
    validator_key: bytes = b"",
    transaction_key: bytes = b"",
) -> Facts:
    return Facts(
        member=given.member,
        name=given.name,
        lei=given.lei,
        roles=given.roles,
        ca_certificate=ca_certificate,
        node=given.node,
        validator_key=validator_key,
        transaction_key=transaction_key,
        address=given.address,
        peer_address=given.peer_address,
    )


def _check_own(genesis: Genesis, own: Card) -> None:
    """Compare a genesis with the card, unless it does not name the member: it is admitted later then."""
    if any(one.member == own.facts.member for one in genesis.members):
        check_card(genesis, own.facts, f"card {own.source}")


def _find_places(genesis: Genesis, cards: Sequence[Card], own: Card) -> list[NodePlace]:
    """Return where the validators are reached, as their cards say."""
    check_cards(cards)
    by_member = {card.facts.member: card for card in (*cards, own)}
    missing = [str(one.member) for one in genesis.validators if one.member not in by_member]
    if missing:
        raise UsageError(
            Reason.NOT_FOUND,
            "the cards of validators are missing: their addresses stand there",
            value=", ".join(missing),
            limit="the cards of all validators",
            remedy="name them too",
        )
    named = {one.member for one in genesis.members}
    for member, card in by_member.items():
        # Who was admitted after the genesis has a card too, which lies among these: nothing is taken from it.
        if member != own.facts.member and member in named:
            check_card(genesis, card.facts, f"card {card.source}")
    return [_to_place(by_member[one.member].facts) for one in genesis.validators]


def _to_place(facts: Facts) -> NodePlace:
    # The ops address is nobody else's business, and on no card.
    return NodePlace(
        member=facts.member,
        node=facts.node,
        address=facts.address,
        peer_address=facts.peer_address,
        ops_address="",
    )


def _listen_everywhere(address: str) -> str:
    host, port = split_address(address)
    return f"{ANY_HOST_6 if ':' in host else ANY_HOST}:{port}"
