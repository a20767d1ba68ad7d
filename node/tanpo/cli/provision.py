"""Make the files of a local network: certificates, keys, the genesis and every node's configuration.

Where its nodes run decides what they listen on and how they name their files; a `Site` says so. Each member
gets a CA of its own, as in a real network. That one process holds all of their keys is what makes this a
network for trying things out, and nothing more.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Protocol

from tanpo.cli.layout import NODE_NAME, MemberFiles, NetworkFolder, NodePlace
from tanpo.cli.ports import LOOPBACK, PortSlot, check_ports, claim_slot
from tanpo.cli.samples import load_catalog
from tanpo.client.keyfile import save_key
from tanpo.client.profile import Profile, render_profile
from tanpo.contracts import PRODUCT_CONTRACTS, load_source
from tanpo.ledger.genesis import Genesis, InstalledContract, Member, Parameters, genesis_to_json
from tanpo.ledger.keys import PrivateKey
from tanpo.ledger.types import MemberId
from tanpo.ledger.validators import Validator, validators_to_value
from tanpo.ledger.values import Value
from tanpo.node.config import NodeConfig, PeerConfig, TlsConfig, render_config
from tanpo.node.epochs import VALIDATORS_CONTRACT
from tanpo.node.identity import Role
from tanpo.node.pki import Authority, create_authority, issue_certificate
from tanpo.node.promises import create_promises

NETWORK_NAME: Final = "tanpo-local"
OPERATING_CONTRACTS: Final = ("settlement", "collateral")
"""The contracts that may act on the register for those who signed."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Keys:
    """What is made for one member."""

    authority: Authority
    validator: PrivateKey
    transaction: PrivateKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What a node listens on, and its files by the names that it knows them by."""

    listen: str
    peer_listen: str
    ops_listen: str
    data_dir: Path
    genesis: Path


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
        contracts=_plan_contracts(members),
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


def write_node_secrets(files: MemberFiles, authority: Authority, name: str) -> None:
    """Write the certificate and the key of a node, and the CA that it believes for its own member."""
    files.pem("ca")[0].write_bytes(authority.certificate_pem)
    _issue(files, authority, Role.NODE, name)


def write_config(
    files: MemberFiles, node: NodePlace, nodes: tuple[NodePlace, ...], place: Place, *, is_voting: bool = True
) -> None:
    """Write a node's configuration beside its files, with all others of `nodes` as its peers."""
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
        signing_key=Path(files.validator_key.name) if is_voting else None,
        # Members without a working node act through another's, as participants by API do.
        clients=tuple(one.member for one in nodes),
        verify_threads=0,  # All nodes share this machine's cores: none is free for a thread.
        peers=tuple(
            PeerConfig(member=one.member, node=one.node, address=one.peer_address)
            for one in nodes
            if (one.member, one.node) != (node.member, node.node)
        ),
    )
    files.config.write_text(render_config(config))


def write_profiles(
    folder: NetworkFolder, files: MemberFiles, node: NodePlace, others: tuple[NodePlace, ...]
) -> None:
    """Write the profiles with which the member's client and operator connect to a node."""
    rest = tuple(one.address for one in others if one.address != node.address)
    for path, role, addresses in (
        (files.profile, Role.CLIENT, (node.address, *rest)),
        (files.operator_profile, Role.OPERATOR, (node.address,)),
    ):
        certificate, private_key = files.pem(role.value)
        profile = Profile(
            addresses=addresses,
            genesis=f"../{folder.genesis.name}",
            certificate=certificate.name,
            key=private_key.name,
            authorities=f"../{folder.authorities.name}",
            member=node.member,
            keys=(files.transaction_key.name,),
        )
        path.write_text(render_profile(profile))


def _write_network(
    folder: NetworkFolder, plan: NetworkPlan, nodes: tuple[NodePlace, ...], site: Site
) -> None:
    keys = {
        one.member: _Keys(
            authority=create_authority(MemberId(one.member), NETWORK_NAME),
            validator=PrivateKey.generate(),
            transaction=PrivateKey.generate(),
        )
        for one in plan.members
    }
    folder.root.mkdir(parents=True, exist_ok=True)
    genesis = _build_genesis(plan, keys)
    folder.genesis.write_text(genesis_to_json(genesis))
    folder.authorities.write_bytes(
        b"".join(keys[one.member].authority.certificate_pem for one in plan.members)
    )
    for node in nodes:
        files = folder.get_member(node.member)
        files.root.mkdir(mode=0o700)
        node_files = site.get_node_files(files)
        node_files.root.mkdir(mode=0o700, exist_ok=True)
        _write_secrets(files, keys[node.member])
        write_node_secrets(node_files, keys[node.member].authority, node.node)
        save_key(node_files.validator_key, keys[node.member].validator)
        write_config(node_files, node, nodes, site.find_place(folder, node))
        write_profiles(folder, files, node, nodes)
    site.prepare(folder, genesis, nodes)
    folder.save_manifest(nodes)


def _plan_contracts(members: list[MemberPlan]) -> tuple[InstalledContract, ...]:
    arguments: dict[str, tuple[tuple[str, Value], ...]] = {
        "members": (("members", tuple({"member": one.member, "roles": one.roles} for one in members)),),
        "instruments": (("contracts", OPERATING_CONTRACTS),),
    }
    return tuple(
        InstalledContract(name=name, source=load_source(name), arguments=arguments.get(name, ()))
        for name in PRODUCT_CONTRACTS
    )


def _build_genesis(plan: NetworkPlan, keys: dict[str, _Keys]) -> Genesis:
    validators = tuple(
        Validator(
            member=MemberId(one.member),
            node=NODE_NAME,
            public_key=keys[one.member].validator.public_key.encoded,
        )
        for one in plan.members[: plan.validator_count]
    )
    return Genesis(
        network=NETWORK_NAME,
        time_ms=time.time_ns() // 1_000_000,
        parameters=Parameters(),
        members=tuple(
            Member(
                member=MemberId(one.member),
                name=one.name,
                lei=one.lei,
                roles=one.roles,
                ca_certificate=keys[one.member].authority.certificate_pem,
                keys=(keys[one.member].transaction.public_key.encoded,),
            )
            for one in plan.members
        ),
        validators=validators,
        contracts=tuple(_complete(contract, validators) for contract in plan.contracts),
    )


def _complete(contract: InstalledContract, validators: tuple[Validator, ...]) -> InstalledContract:
    """Return the contract with what it starts with; the validators' keys are made last."""
    if contract.name != VALIDATORS_CONTRACT:
        return contract
    return replace(contract, arguments=(("validators", validators_to_value(validators)),))


def _write_secrets(files: MemberFiles, keys: _Keys) -> None:
    """Write what is the member's and not its node's."""
    certificate, private_key = files.pem("ca")
    certificate.write_bytes(keys.authority.certificate_pem)
    _write_private(private_key, keys.authority.private_key_pem)
    for role, name in ((Role.CLIENT, "client"), (Role.OPERATOR, "operator")):
        _issue(files, keys.authority, role, name)
    save_key(files.transaction_key, keys.transaction)


def _issue(files: MemberFiles, authority: Authority, role: Role, name: str) -> None:
    issued = issue_certificate(authority, role, name)
    certificate, private_key = files.pem(role.value)
    certificate.write_bytes(issued.certificate)
    _write_private(private_key, issued.private_key)


def _write_private(path: Path, data: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(data)
