"""How a simulated node comes up: what it finds on its disks, and the replica that goes on from there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tanpo.consensus import BaseBlock, CommittedTip, Replica, ReplicaConfig
from tanpo.ledger.errors import InvariantViolation
from tanpo.ledger.types import Epoch, Signature
from tanpo.node.resuming import resume
from tanpo.simulator.bodies import PoolSource
from tanpo.simulator.checks import AttentiveReplica
from tanpo.simulator.disk import SafetyDisk
from tanpo.simulator.violation import Violation
from tanpo.storage import SafetyImage
from tanpo.storage.recall import Forgotten

if TYPE_CHECKING:
    from tanpo.simulator.process import Process


def recall(process: Process) -> SafetyImage:
    """Return what was promised. A store that may have forgotten is put aside for an empty one.

    Raises:
        Violation: an honest process finds anything else than what was durable.
    """
    try:
        image = process.safety.load()
    except Forgotten as finding:
        process.cluster.annals.trace(process, f"amnesia: {finding.what}")
        process.cluster.checks.on_loss(process, is_known=True)
        process.has_forgotten = True
        process.safety = SafetyDisk()
        return process.safety.load()
    durable = (process.safety.record, set(process.safety.blocks))
    if process.is_honest and (image.record, set(image.blocks)) != durable:
        raise Violation("restart", "finds another record than the durable one", process.name)
    return image


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


def build_replica(process: Process, image: SafetyImage) -> Replica:
    """Return the replica of the epoch that follows from the stored tip, as `tanpo.node.succession` does."""
    cluster = process.cluster
    reign = cluster.reigns[process.chain.state.reign]
    config = ReplicaConfig(
        network_id=cluster.network_id,
        epoch=Epoch(process.chain.state.reign),
        validator=reign.find_index(process.node),
        validator_count=reign.validator_count,
        valset_hash=reign.valset_hash,
        parameters=cluster.parameters,
        timing=cluster.settings.timing,
        base=find_base(process),
        may_rejoin=process.node == cluster.settings.rejoining,
    )
    resumption = resume(config, read_tip(process), image, has_forgotten=process.has_forgotten)
    if resumption.write is not None:
        process.safety.begin(resumption.write)
        process.safety.finish()
    factory = cluster.replica_factory
    if factory is Replica and _is_watched(process):
        factory = AttentiveReplica
    return factory(
        config, reign.keys, lambda message: _sign(process, message), PoolSource(process), resumption.start
    )


def _is_watched(process: Process) -> bool:
    """Whether a replica is held to draw the consequences of what it sees: where there is anything to see, of
    those in nobody's hands those that may forget, and every other one, because it costs time."""
    cluster = process.cluster
    is_drawn = (process.number + cluster.settings.seed) % 2 == 0 or process.node in cluster.settings.victims
    return bool(cluster.faulty) and process.node not in cluster.hostile and is_drawn


def _sign(process: Process, message: bytes) -> Signature:
    """Sign as the validator that the node is in the epoch of its replica."""
    reign = process.cluster.reigns[process.chain.state.reign]
    index = reign.find_index(process.node)
    if index is None:
        raise InvariantViolation("an observer was asked to sign")
    return reign.sign(index, message)
