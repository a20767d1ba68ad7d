"""Make the files of a local network: certificates, keys, the genesis and every node's configuration.

Each member gets a CA of its own, as in a real network. That one process holds all of their keys is what makes
this a network for trying things out, and nothing more.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

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
PORTS_A_NODE: Final = 3
"""For clients, for peers, for operations."""
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
    folder: NetworkFolder, plan: NetworkPlan, base_port: int | None
) -> tuple[PortSlot | None, tuple[NodePlace, ...]]:
    """Write all files of a network. Returns the claim on its ports, and its nodes.

    Raises:
        UsageError: a port is in use, or a file cannot be written.
    """
    count = PORTS_A_NODE * len(plan.members)
    slot: PortSlot | None = None
    if base_port is None:
        slot = claim_slot(count)
    else:
        check_ports(base_port, count)
    first = slot.base if slot is not None else base_port or 0
    nodes = tuple(_place(one.member, first + PORTS_A_NODE * i) for i, one in enumerate(plan.members))
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
        _write_secrets(files, keys[node.member])
        _write_config(folder, files, node, nodes)
        _write_profiles(folder, files, node, nodes)
        create_promises(genesis, files.data)
    folder.save_manifest(nodes)
    return slot, nodes


def _plan_contracts(members: list[MemberPlan]) -> tuple[InstalledContract, ...]:
    arguments: dict[str, tuple[tuple[str, Value], ...]] = {
        "members": (("members", tuple({"member": one.member, "roles": one.roles} for one in members)),),
        "instruments": (("contracts", OPERATING_CONTRACTS),),
    }
    return tuple(
        InstalledContract(name=name, source=load_source(name), arguments=arguments.get(name, ()))
        for name in PRODUCT_CONTRACTS
    )


def _place(member: str, port: int) -> NodePlace:
    return NodePlace(
        member=member,
        node=NODE_NAME,
        address=f"{LOOPBACK}:{port}",
        peer_address=f"{LOOPBACK}:{port + 1}",
        ops_address=f"{LOOPBACK}:{port + 2}",
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
    certificate, private_key = files.pem("ca")
    certificate.write_bytes(keys.authority.certificate_pem)
    _write_private(private_key, keys.authority.private_key_pem)
    for role, name in ((Role.NODE, NODE_NAME), (Role.CLIENT, "client"), (Role.OPERATOR, "operator")):
        issued = issue_certificate(keys.authority, role, name)
        certificate, private_key = files.pem(role.value)
        certificate.write_bytes(issued.certificate)
        _write_private(private_key, issued.private_key)
    save_key(files.validator_key, keys.validator)
    save_key(files.transaction_key, keys.transaction)


def _write_private(path: Path, data: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(data)


def _write_config(
    folder: NetworkFolder, files: MemberFiles, node: NodePlace, nodes: tuple[NodePlace, ...]
) -> None:
    certificate, private_key = files.pem("node")
    config = NodeConfig(
        member=node.member,
        node=node.node,
        data_dir=Path(files.data.name),
        genesis=Path("..") / folder.genesis.name,
        listen=node.address,
        peer_listen=node.peer_address,
        ops_listen=node.ops_address,
        tls=TlsConfig(
            ca=Path(files.pem("ca")[0].name), certificate=Path(certificate.name), key=Path(private_key.name)
        ),
        signing_key=Path(files.validator_key.name),
        # Members without a working node act through another's, as participants by API do.
        clients=tuple(one.member for one in nodes),
        verify_threads=0,  # All nodes share this machine's cores: none is free for a thread.
        peers=tuple(
            PeerConfig(member=one.member, node=one.node, address=one.peer_address)
            for one in nodes
            if one.member != node.member
        ),
    )
    files.config.write_text(render_config(config))


def _write_profiles(
    folder: NetworkFolder, files: MemberFiles, node: NodePlace, nodes: tuple[NodePlace, ...]
) -> None:
    others = tuple(one.address for one in nodes if one.member != node.member)
    for path, role, addresses in (
        (files.profile, Role.CLIENT, (node.address, *others)),
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
