"""Make the files of a local network: certificates, keys, the genesis and every node's configuration.

Where its nodes run decides what they listen on and how they name their files; a `Site` says so. Each member
gets a CA of its own, as in a real network. That one process holds all of their keys is what makes this a
network for trying things out, and nothing more.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from tanpo.cli.founding.assembling import assemble_genesis, plan_contracts
from tanpo.cli.founding.cards import Facts
from tanpo.cli.founding.secrets import (
    MemberSecrets,
    create_secrets,
    write_authority,
    write_client_secrets,
    write_node_secrets,
)
from tanpo.cli.founding.settings import Place, Sharing, write_config, write_profiles
from tanpo.cli.layout import NODE_NAME, MemberFiles, NetworkFolder, NodePlace
from tanpo.cli.ports import LOOPBACK, PortSlot, check_ports, claim_slot
from tanpo.cli.samples import load_catalog
from tanpo.client.keyfile import save_key
from tanpo.ledger.genesis import Genesis, InstalledContract, Parameters, genesis_to_json
from tanpo.ledger.types import MemberId
from tanpo.node.promises import create_promises

NETWORK_NAME: Final = "tanpo-local"


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberPlan:
    """A member of a network to be made."""

    member: str
    name: str
    lei: str
    roles: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkPlan:
    """The members and contracts of a network to be made. The first members' nodes are its validators."""

    members: tuple[MemberPlan, ...]
    validator_count: int
    contracts: tuple[InstalledContract, ...]


class Site(Protocol):
    """Where the nodes of a network run."""

    @property
    def ports_a_node(self) -> int:
        """How many ports of this machine each node takes."""
        ...

    @property
    def ports_beside(self) -> int:
        """How many it takes beside, after those of all nodes."""
        ...

    def find_node(self, member: str, port: int) -> NodePlace:
        """Return where others reach a member's node whose first port is given."""
        ...

    def get_node_files(self, files: MemberFiles) -> MemberFiles:
        """Return where the files lie that the node itself reads."""
        ...

    def find_place(self, folder: NetworkFolder, node: NodePlace, /) -> Place:
        """Return what a node listens on and where it finds its files."""
        ...

    def prepare(self, folder: NetworkFolder, genesis: Genesis, nodes: tuple[NodePlace, ...], /) -> None:
        """Do what is left once all files are there and before the network is complete."""
        ...


class LoopbackSite:
    """Processes of this machine, each with its data in its member's folder."""

    ports_a_node: Final = 3
    """For clients, for peers, for operations."""
    ports_beside: Final = 0

    def find_node(self, member: str, port: int) -> NodePlace:
        """Return a node on loopback."""
        return NodePlace(
            member=member,
            node=NODE_NAME,
            address=f"{LOOPBACK}:{port}",
            peer_address=f"{LOOPBACK}:{port + 1}",
            ops_address=f"{LOOPBACK}:{port + 2}",
        )

    def get_node_files(self, files: MemberFiles) -> MemberFiles:
        """Return the member's folder: the node may read all of it."""
        return files

    def find_place(self, folder: NetworkFolder, node: NodePlace, /) -> Place:
        """Return a place where the node listens as others reach it."""
        return Place(
            listen=node.address,
            peer_listen=node.peer_address,
            ops_listen=node.ops_address,
            data_dir=Path(folder.get_member(node.member).data.name),
            genesis=Path("..") / folder.genesis.name,
        )

    def prepare(self, folder: NetworkFolder, genesis: Genesis, nodes: tuple[NodePlace, ...], /) -> None:
        """Make the data directory of every node."""
        for node in nodes:
            create_promises(genesis, folder.get_member(node.member).data)


def plan_network(member_count: int, validator_count: int | None = None) -> NetworkPlan:
    """Return the sample members, further participants if more are wanted, and the contracts.

    Every member gets a node; unless fewer are wanted, all of them are validators.
    """
    members = [
        MemberPlan(member=one.member, name=one.name, lei=one.lei, roles=one.roles)
        for one in load_catalog().members[:member_count]
    ]
    for number in range(len(members) + 1, member_count + 1):
        members.append(
            MemberPlan(
                member=f"participant-{number}", name=f"Participant {number}", lei="", roles=("participant",)
            )
        )
    return NetworkPlan(
        members=tuple(members),
        validator_count=member_count if validator_count is None else validator_count,
        contracts=plan_contracts(),
    )


def provision(
    folder: NetworkFolder, plan: NetworkPlan, base_port: int | None, site: Site | None = None
) -> tuple[PortSlot | None, tuple[NodePlace, ...]]:
    """Write all files of a network, of processes unless another site is given.

    Returns the claim on its ports, and its nodes.

    Raises:
        UsageError: a port is in use, or a file cannot be written.
    """
    site = site or LoopbackSite()
    count = site.ports_a_node * len(plan.members) + site.ports_beside
    slot: PortSlot | None = None
    if base_port is None:
        slot = claim_slot(count)
    else:
        check_ports(base_port, count)
    first = slot.base if slot is not None else base_port or 0
    nodes = tuple(
        site.find_node(one.member, first + site.ports_a_node * i) for i, one in enumerate(plan.members)
    )
    try:
        _write_network(folder, plan, nodes, site)
    except BaseException:
        if slot is not None:
            slot.release()
        raise
    return slot, nodes


def _write_network(
    folder: NetworkFolder, plan: NetworkPlan, nodes: tuple[NodePlace, ...], site: Site
) -> None:
    secrets = {one.member: create_secrets(MemberId(one.member), NETWORK_NAME) for one in plan.members}
    folder.root.mkdir(parents=True, exist_ok=True)
    folder.unfinished.touch()
    genesis = _build_genesis(plan, nodes, secrets)
    folder.genesis.write_text(genesis_to_json(genesis))
    folder.authorities.write_bytes(b"".join(one.ca_certificate for one in genesis.members))
    # Members without a working node act through another's, as participants by API do. All nodes share this
    # machine's cores: none is free for a thread.
    sharing = Sharing(clients=tuple(one.member for one in nodes), verify_threads=0)
    for node in nodes:
        files, own = folder.get_member(node.member), secrets[node.member]
        files.root.mkdir(mode=0o700)
        node_files = site.get_node_files(files)
        node_files.root.mkdir(mode=0o700, exist_ok=True)
        write_authority(files, own.authority)
        write_client_secrets(files, own)
        write_node_secrets(node_files, own.authority, node.node)
        save_key(node_files.validator_key, own.validator)
        write_config(node_files, node, nodes, site.find_place(folder, node), sharing)
        write_profiles(
            files, node, nodes, genesis=folder.shared_genesis, authorities=folder.shared_authorities
        )
    site.prepare(folder, genesis, nodes)
    folder.save_manifest(nodes)
    folder.unfinished.unlink()


def _build_genesis(
    plan: NetworkPlan, nodes: tuple[NodePlace, ...], secrets: dict[str, MemberSecrets]
) -> Genesis:
    members = [
        Facts(
            member=one.member,
            name=one.name,
            lei=one.lei,
            roles=one.roles,
            ca_certificate=secrets[one.member].authority.certificate_pem,
            node=node.node,
            validator_key=secrets[one.member].validator.public_key.encoded,
            transaction_key=secrets[one.member].transaction.public_key.encoded,
            address=node.address,
            peer_address=node.peer_address,
        )
        for one, node in zip(plan.members, nodes, strict=True)
    ]
    return assemble_genesis(
        NETWORK_NAME,
        members,
        voting=[one.member for one in plan.members[: plan.validator_count]],
        contracts=plan.contracts,
        parameters=Parameters(),
        time_ms=time.time_ns() // 1_000_000,
    )
