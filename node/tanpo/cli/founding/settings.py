"""What a node and its clients are told: `node.toml` and profiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tanpo.cli.founding.creating import create_file
from tanpo.cli.layout import MemberFiles, NodePlace
from tanpo.client.profile import Profile, render_profile
from tanpo.node.config import NodeConfig, PeerConfig, TlsConfig, render_config
from tanpo.node.identity import Role


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What a node listens on, and its files by the names that it knows them by."""

    listen: str
    peer_listen: str
    ops_listen: str
    data_dir: Path
    genesis: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharing:
    """How a node lives with others: whose clients it serves beside its own member's, whether a core is free
    for the thread that checks signatures, and whether it has a key to vote with."""

    clients: tuple[str, ...] = ()
    verify_threads: int = 1
    has_key: bool = True


def write_config(
    files: MemberFiles, node: NodePlace, peers: Sequence[NodePlace], place: Place, sharing: Sharing
) -> None:
    """Write a node's configuration beside its files, with all others of `peers` as its peers."""
    certificate, private_key = files.pem(Role.NODE.value)
    config = NodeConfig(
        member=node.member,
        node=node.node,
        data_dir=place.data_dir,
        genesis=place.genesis,
        listen=place.listen,
        peer_listen=place.peer_listen,
        ops_listen=place.ops_listen,
        tls=TlsConfig(
            ca=Path(files.pem("ca")[0].name), certificate=Path(certificate.name), key=Path(private_key.name)
        ),
        signing_key=Path(files.validator_key.name) if sharing.has_key else None,
        clients=sharing.clients,
        verify_threads=sharing.verify_threads,
        peers=tuple(
            PeerConfig(member=one.member, node=one.node, address=one.peer_address)
            for one in peers
            if (one.member, one.node) != (node.member, node.node)
        ),
    )
    create_file(files.config, render_config(config).encode())


def write_profiles(
    files: MemberFiles, node: NodePlace, others: Sequence[NodePlace], *, genesis: str, authorities: str
) -> None:
    """Write the profiles with which the member's client and operator connect to a node.

    The client goes on with the others where its own member's node does not answer.
    """
    rest = tuple(one.address for one in others if one.address != node.address)
    for path, role, addresses in (
        (files.profile, Role.CLIENT, (node.address, *rest)),
        (files.operator_profile, Role.OPERATOR, (node.address,)),
    ):
        certificate, private_key = files.pem(role.value)
        profile = Profile(
            addresses=addresses,
            genesis=genesis,
            certificate=certificate.name,
            key=private_key.name,
            authorities=authorities,
            member=node.member,
            keys=(files.transaction_key.name,),
        )
        create_file(path, render_profile(profile).encode())
