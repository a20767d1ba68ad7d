"""Whom a node dials: the other nodes of its configuration, with credentials for each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from cryptography import x509
from tanpo.ledger.errors import LedgerError, Reason, UsageError
from tanpo.ledger.genesis import Genesis, genesis_from_json
from tanpo.ledger.types import MemberId
from tanpo.node.authorities import Authorities, encode_pem
from tanpo.node.config import NodeConfig, PeerConfig
from tanpo.node.credentials import NodeCredentials, parse_certificate
from tanpo.node.findings import Finding, warning
from tanpo.node.operator_files import GENESIS_BYTES_MAX, read_operator_file
from tanpo.node.peer_link import PeerAddress
from tanpo.node.roster import compute_name
from tanpo.node.tls import load_channel_credentials, read_pem

_REMEDY: Final = "correct the key `genesis`, or copy the file from another member"


def load_genesis(path: Path) -> Genesis:
    """Return the genesis in a file. Raises `UsageError` when there is none."""
    try:
        text = read_operator_file(path, GENESIS_BYTES_MAX).decode()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text"
        raise UsageError(
            Reason.CONFIGURATION,
            f"genesis: cannot read {path}: {why}",
            value=path,
            limit="the genesis file of the network",
            remedy=_REMEDY,
        ) from None
    try:
        return genesis_from_json(text)
    except UsageError as error:
        raise UsageError(
            Reason.CONFIGURATION,
            f"genesis: {path}: {error.message}",
            value=path,
            limit="the genesis file of the network",
            remedy=_REMEDY,
        ) from None


def find_peers(
    config: NodeConfig, authorities: Authorities, credentials: NodeCredentials
) -> list[PeerAddress]:
    """Return every other node that the configuration gives an address of, be it a validator or not (yet).

    A node whose member is unknown now, or is dismissed, is left out: there is nothing to trust it by.

    Raises:
        UsageError: with CONFIGURATION, the file of the only CA of a peer's member cannot be used.
    """
    found = [(peer, _find_roots(peer, position, authorities)) for position, peer in enumerate(config.peers)]
    return [
        PeerAddress(
            member=MemberId(peer.member),
            node=peer.node,
            address=peer.address,
            authorities=roots,
            credentials=load_channel_credentials(roots, credentials.certificate, credentials.private_key),
        )
        for peer, roots in found
        if roots
    ]


def check_peers(config: NodeConfig, genesis: Genesis) -> Iterator[Finding]:
    """Find what is wrong with the peers, of which each is another node by what the file alone tells."""
    members = {member.member for member in genesis.members}
    places: dict[str, str] = {}
    for position, peer in enumerate(config.peers):
        name = compute_name(peer.member, peer.node)
        try:
            known = _load_extra(peer, position)
        except LedgerError as error:
            yield Finding(key=f"peers.{position}.ca", error=error)
            continue
        if MemberId(peer.member) not in members and not known:
            yield warning(
                f"peers.{position}",
                f"is of no member that the genesis names: {name}; it is dialled once this node knows its CA",
                value=name,
                limit=f"nodes of {', '.join(sorted(members))}, or of members admitted since",
                remedy="correct the [[peers]] section, or name its member's CA there as `ca`",
            )
        if peer.address in places:
            yield warning(
                f"peers.{position}.address",
                f"is that of {places[peer.address]} too: one of them cannot be reached there",
                value=peer.address,
                limit="an address for each node",
            )
        places.setdefault(peer.address, name)


def _find_roots(peer: PeerConfig, position: int, authorities: Authorities) -> bytes:
    known = authorities.find(MemberId(peer.member))
    try:
        extra = _load_extra(peer, position)
    except UsageError:
        if not known:
            raise
        # The file was for the time before the state named the CA. Peers are looked up again and again: a node
        # that runs must not end because its operator has tidied up since.
        extra = ()
    return encode_pem((*known, *extra))


def _load_extra(peer: PeerConfig, position: int) -> tuple[x509.Certificate, ...]:
    """Return the CA that an operator names for one peer, if there is one."""
    if peer.ca is None:
        return ()
    key = f"peers.{position}.ca"
    return (parse_certificate(read_pem(peer.ca, key, ("CERTIFICATE",)), key),)
