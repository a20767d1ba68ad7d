"""Whom a node dials: the other nodes of its configuration, with credentials for each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tanpo.ledger.errors import Reason, UsageError
from tanpo.ledger.genesis import Genesis, genesis_from_json
from tanpo.ledger.types import MemberId
from tanpo.node.config import NodeConfig
from tanpo.node.credentials import NodeCredentials
from tanpo.node.findings import Finding, fault, raise_first, warning
from tanpo.node.peer_link import PeerAddress
from tanpo.node.roster import compute_name
from tanpo.node.tls import load_channel_credentials


def load_genesis(path: Path) -> Genesis:
    """Return the genesis in a file. Raises `UsageError` when there is none."""
    try:
        return genesis_from_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text"
        raise UsageError(
            Reason.CONFIGURATION,
            f"genesis: cannot read {path}: {why}",
            value=path,
            limit="the genesis file of the network",
            remedy="correct the key `genesis`, or copy the file from another member",
        ) from None


def find_peers(config: NodeConfig, genesis: Genesis, credentials: NodeCredentials) -> list[PeerAddress]:
    """Return every other node that the configuration gives an address of, be it a validator or not (yet).

    Raises:
        UsageError: with CONFIGURATION, a peer is of no member.
    """
    authorities = {member.member: member.ca_certificate for member in genesis.members}
    raise_first(check_peers(config, genesis))
    return [
        PeerAddress(
            member=MemberId(peer.member),
            node=peer.node,
            address=peer.address,
            credentials=load_channel_credentials(
                authorities[MemberId(peer.member)], credentials.certificate, credentials.private_key
            ),
        )
        for peer in config.peers
    ]


def check_peers(config: NodeConfig, genesis: Genesis) -> Iterator[Finding]:
    """Find what is wrong with the peers, of which each is another node by what the file alone tells."""
    members = {member.member for member in genesis.members}
    places: dict[str, str] = {}
    for position, peer in enumerate(config.peers):
        name = compute_name(peer.member, peer.node)
        if MemberId(peer.member) not in members:
            yield fault(
                f"peers.{position}",
                f"is of no member of this network: {name}",
                value=name,
                limit=f"nodes of {', '.join(sorted(members))}",
                remedy="correct the [[peers]] sections",
            )
        if peer.address in places:
            yield warning(
                f"peers.{position}.address",
                f"is that of {places[peer.address]} too: one of them cannot be reached there",
                value=peer.address,
                limit="an address for each node",
            )
        places.setdefault(peer.address, name)
