"""`tanpo.api.v1.Network`: what a node knows of its network."""

from __future__ import annotations

from collections.abc import Callable

from tanpo.api.v1 import network_pb2, network_pb2_grpc
from tanpo.ledger.certificate import compute_faulty_max, compute_quorum
from tanpo.ledger.types import MemberId
from tanpo.node.services.convert import check_name, encode_member
from tanpo.node.services.guard import Context
from tanpo.node.services.ports import NodePort, PeerSource
from tanpo.node.services.readiness import Readiness
from typing_extensions import override


class NetworkService(network_pb2_grpc.NetworkServicer):
    """Members, validators, parameters, contracts, and where this node stands."""

    def __init__(
        self,
        *,
        core: NodePort,
        peers: PeerSource,
        readiness: Readiness,
        member: MemberId,
        node: str,
        version: str,
        clock_ms: Callable[[], int],
    ) -> None:
        self._core = core
        self._peers = peers
        self._readiness = readiness
        self._member = member
        self._node = node
        self._version = version
        self._clock_ms = clock_ms

    @override
    async def GetStatus(
        self, request: network_pb2.GetStatusRequest, context: Context
    ) -> network_pb2.NodeStatus:
        genesis, status = self._core.genesis, self._core.status()
        obstacles = self._readiness.find_obstacles()
        return network_pb2.NodeStatus(
            network=genesis.network,
            network_id=genesis.network_id,
            member=self._member,
            node=self._node,
            version=self._version,
            height=status.height,
            block_hash=status.block_hash,
            state_root=status.state_root,
            time_ms=status.time_ms,
            epoch=status.epoch,
            term=status.term,
            leader=status.leader,
            is_leader=status.is_leader,
            is_ready=not obstacles,
            pending_transactions=status.pending_transactions,
            connected_peers=[f"{p.member}/{p.node}" for p in self._peers.peers() if p.is_connected],
            stalled_reason="; ".join(obstacles),
            clock_ms=self._clock_ms(),
            observer_reason=status.observer_reason,
            validators=self._core.roster.names,
            first_height=self._core.reads.first_height,
            retention=status.retention,
            blocks_bytes=status.blocks_bytes,
            state_bytes=status.state_bytes,
        )

    @override
    async def GetMembers(
        self, request: network_pb2.GetMembersRequest, context: Context
    ) -> network_pb2.GetMembersResponse:
        return network_pb2.GetMembersResponse(members=map(encode_member, self._core.members))

    @override
    async def GetValidators(
        self, request: network_pb2.GetValidatorsRequest, context: Context
    ) -> network_pb2.GetValidatorsResponse:
        roster = self._core.roster
        validators = roster.validators.validators
        return network_pb2.GetValidatorsResponse(
            epoch=roster.epoch,
            validators=[
                network_pb2.Validator(
                    index=index,
                    member=validator.member,
                    node=validator.node,
                    public_key=validator.public_key,
                )
                for index, validator in enumerate(validators)
            ],
            quorum=compute_quorum(len(validators)),
            faulty_max=compute_faulty_max(len(validators)),
        )

    @override
    async def GetEvidence(
        self, request: network_pb2.GetEvidenceRequest, context: Context
    ) -> network_pb2.GetEvidenceResponse:
        return network_pb2.GetEvidenceResponse(
            evidence=[
                network_pb2.Evidence(
                    epoch=found.claim.epoch,
                    accused=found.name,
                    kind=found.claim.kind.value,
                    height=found.height,
                    evidence=found.encoded,
                )
                for found in self._core.evidence()
            ]
        )

    @override
    async def GetParameters(
        self, request: network_pb2.GetParametersRequest, context: Context
    ) -> network_pb2.GetParametersResponse:
        parameters = self._core.genesis.parameters
        return network_pb2.GetParametersResponse(
            block_transactions_max=parameters.block_transactions_max,
            block_bytes_max=parameters.block_bytes_max,
            validity_max_ms=parameters.validity_max_ms,
            gas_limit_max=parameters.gas_limit_max,
            block_gas_max=parameters.block_gas_max,
        )

    @override
    async def GetContracts(
        self, request: network_pb2.GetContractsRequest, context: Context
    ) -> network_pb2.GetContractsResponse:
        return network_pb2.GetContractsResponse(
            contracts=[
                network_pb2.Contract(
                    name=contract.version.name,
                    source_hash=contract.version.source_hash,
                    language_version=contract.version.language_version,
                    interface_json=contract.interface_json,
                    gas_table_version=contract.version.gas_table_version,
                    version=contract.version.version,
                    height=contract.version.height,
                    replaces=contract.version.replaces,
                )
                for contract in self._core.reads.contracts()
            ]
        )

    @override
    async def GetContractVersion(
        self, request: network_pb2.GetContractVersionRequest, context: Context
    ) -> network_pb2.ContractVersion:
        name = check_name("name", request.name)
        found = self._core.reads.contract_version(name, request.version)
        return network_pb2.ContractVersion(
            name=found.name,
            version=found.version,
            height=found.height,
            language_version=found.language_version,
            gas_table_version=found.gas_table_version,
            replaces=found.replaces,
            source=found.source,
        )
