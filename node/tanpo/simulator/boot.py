"""How a simulated node comes up: what it finds on its disks, and the replica that goes on from there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tanpo.consensus import BaseBlock, CommittedTip, Replica, ReplicaConfig, ReplicaStart
from tanpo.ledger.block import Block, decode_block
from tanpo.ledger.errors import InvariantViolation
from tanpo.ledger.types import Epoch, Signature
from tanpo.simulator.bodies import PoolSource
from tanpo.simulator.disk import SafetyDisk
from tanpo.storage.recall import Forgotten

if TYPE_CHECKING:
    from tanpo.simulator.process import Process


def recall(process: Process) -> tuple[bytes | None, tuple[Block, ...]]:
    """Return what was promised. A store that may have forgotten is put aside for an empty one."""
    try:
        image = process.safety.load()
    except Forgotten as finding:
        process.cluster.annals.trace(process, f"amnesia: {finding.what}")
        process.cluster.checks.on_amnesia(process)
        process.has_forgotten = True
        process.safety = SafetyDisk()
        return None, ()
    return image.record, tuple(decode_block(encoded) for _, encoded in sorted(image.blocks.items()))


def read_tip(process: Process) -> CommittedTip:
    """Return the last stored block, with its results and proof."""
    if not process.chain.blocks:
        return process.cluster.genesis_tip
    last = process.chain.blocks[-1]
    header = last.block.header
    return CommittedTip(
        height=header.height,
        block_hash=last.block.block_hash,
        term=header.term,
        time_ms=header.time_ms,
        roots=last.state.roots,
        proof=last.proof,
    )


def find_base(process: Process) -> BaseBlock | None:
    """Return the block that the epoch of the stored tip starts from, None for genesis."""
    epoch = process.chain.state.reign
    if epoch == 0:
        return None
    for stored in reversed(process.chain.blocks):
        if stored.block.header.epoch < epoch:
            return BaseBlock(height=stored.block.header.height, block_hash=stored.block.block_hash)
    raise InvariantViolation("an epoch above the first starts from a block")


def build_replica(process: Process, record: bytes | None, blocks: tuple[Block, ...]) -> Replica:
    """Return the replica of the epoch that follows from the stored tip."""
    cluster = process.cluster
    reign = cluster.reigns[process.chain.state.reign]
    return cluster.replica_factory(
        ReplicaConfig(
            network_id=cluster.network_id,
            epoch=Epoch(process.chain.state.reign),
            validator=reign.find_index(process.node),
            validator_count=reign.validator_count,
            valset_hash=reign.valset_hash,
            parameters=cluster.parameters,
            timing=cluster.settings.timing,
            base=find_base(process),
            may_rejoin=process.node == cluster.settings.rejoining,
        ),
        reign.keys,
        lambda message: _sign(process, message),
        PoolSource(process),
        ReplicaStart(
            tip=read_tip(process),
            record=record,
            blocks=blocks,
            has_forgotten=process.has_forgotten and record is None,
        ),
    )


def _sign(process: Process, message: bytes) -> Signature:
    """Sign as the validator that the node is in the epoch of its replica."""
    reign = process.cluster.reigns[process.chain.state.reign]
    index = reign.find_index(process.node)
    if index is None:
        raise InvariantViolation("an observer was asked to sign")
    return reign.sign(index, message)
