"""Whom a node dials: the other nodes of its configuration, with credentials for each."""

from __future__ import annotations

from pathlib import Path

from tanpo.ledger.errors import Reason, UsageError
from tanpo.ledger.genesis import Genesis, genesis_from_json
from tanpo.ledger.types import MemberId
from tanpo.node.config import NodeConfig
from tanpo.node.credentials import NodeCredentials
from tanpo.node.roster import compute_name
from tanpo.node.tls import load_channel_credentials
from tanpo.node.transport import PeerAddress


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
        UsageError: with CONFIGURATION, a peer is listed twice, of no member, or this node itself.
    """
    authorities = {member.member: member.ca_certificate for member in genesis.members}
    known = {compute_name(MemberId(config.member), config.node)}
    peers: list[PeerAddress] = []
    for position, peer in enumerate(config.peers):
        name = compute_name(peer.member, peer.node)
        if MemberId(peer.member) not in authorities:
            raise _wrong_peers(f"peers.{position} is of no member of this network", name)
        if name in known:
            raise _wrong_peers(f"peers.{position} is this node itself, or listed before", name)
        known.add(name)
        tls = load_channel_credentials(
            authorities[MemberId(peer.member)], credentials.certificate, credentials.private_key
        )
        peers.append(
            PeerAddress(
                member=MemberId(peer.member),
                node=peer.node,
                address=peer.address,
                credentials=tls,
            )
        )
    return peers


def _wrong_peers(why: str, value: str) -> UsageError:
    return UsageError(
        Reason.CONFIGURATION,
        f"{why}: {value}",
        value=value,
        limit="other nodes of members, each once",
        remedy="correct the [[peers]] sections",
    )
