"""`tanpo node audit`: the chain executed anew, and all that a node stores compared with it.

It is executed from genesis, or from a snapshot that the node kept, whose state is verified against the root
that a quorum signed: what is stored of the blocks before is then left out.

Compared are, of each block: its hash, that of its parent, the roots that its header carries, the signatures
of its commit proof under the validators of its epoch, and, where the node is stopped, what its LevelDB holds:
roots, each receipt, each position, and at the end the index of members' transactions and the whole state.
"""

from __future__ import annotations

import os
import shutil
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tanpo.ledger.certificate import CommitProof, decode_commit_proof, verify_commit_proof
from tanpo.ledger.errors import CorruptState, PeerFault
from tanpo.ledger.genesis import Genesis
from tanpo.ledger.types import BlockHash, Height
from tanpo.node.comparing import (
    STATE_REMEDY,
    compare_origin,
    compare_parties,
    compare_positions,
    compare_receipts,
    compare_roots,
    differs,
)
from tanpo.node.config import ExecutionMode
from tanpo.node.epochs import Lineage
from tanpo.node.execution import ExecutedBlock, Execution
from tanpo.node.origins import Origin, check_block, choose_origin, find_lowest
from tanpo.node.replaying import Diverged, Watch
from tanpo.node.scratch import Replayed, open_scratch, replay_all
from tanpo.storage import StoredBlock
from tanpo.storage.files import guarded_io, lock_folder
from tanpo.storage.layout import STATE_NAME, Executed, read_progress
from tanpo.storage.results import StoredResults

AUDIT_NAME: Final = "audit"
BLOCKS_REMEDY: Final = (
    "this node's software or its blocks are not the network's: compare both with those of other members"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """What an audit found. `difference` is the first one, `None` if all is as it should be.

    `proved_height`: up to there a quorum's signatures make the blocks final, as far as this run saw; the
    proof of the latest blocks may be for one that is not stored yet. `stored_height` is that of the LevelDB
    that was compared, `None` if none was. The blocks above `began_with` were executed: 0 is genesis, and else
    it is the height of a snapshot.
    """

    began_with: int
    height: int
    proved_height: int
    stored_height: int | None
    difference: Diverged | None
    replayed: Replayed | None


def audit_node(
    data_dir: Path,
    genesis: Genesis,
    mode: ExecutionMode,
    watch: Watch,
    *,
    scratch: Path | None = None,
    is_chain_only: bool = False,
    from_snapshot: str = "",
) -> Audit:
    """Execute the chain in the folder `audit` of `scratch`, by default of the data directory, and compare.

    With `is_chain_only` nothing but blocks, `network`, `guard` and snapshots is read, which a running node
    allows. `from_snapshot` is the height of a snapshot to begin with, or `OLDEST`; a node whose ledger begins
    later than the chain begins with its oldest one anyway.
    Interrupted, it goes on where it was when it is called again; ended, it leaves no folder behind.

    Raises:
        Stopped: `watch` was asked to end it.
        UsageError: there is no ledger, it is of another network, its node runs and LevelDB is to be read, or
            there is no such snapshot.
        CorruptState: a file is damaged. Unavailable: the disk is full, or no worker runs.
    """
    progress = read_progress(data_dir, genesis.network_id)
    folder = (scratch or data_dir) / AUDIT_NAME
    with ExitStack() as opened:
        results = None
        if not is_chain_only:
            opened.callback(os.close, lock_folder(data_dir))
            results = StoredResults.open(data_dir / STATE_NAME, remedy=STATE_REMEDY)
            opened.callback(results.close)
        lowest = find_lowest(data_dir) if results is None else max(1, results.beginning.height)
        origin = choose_origin(
            data_dir, genesis, lowest=Height(lowest), highest=progress.segment_height, wanted=from_snapshot
        )
        subject = _Subject(
            data_dir=data_dir,
            genesis=genesis,
            stored_height=progress.segment_height,
            origin=origin,
            results=results,
        )
        return _audit(subject, folder, mode, watch)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Subject:
    """What is audited; `results` are None if LevelDB is left out."""

    data_dir: Path
    genesis: Genesis
    stored_height: Height
    origin: Origin | None
    results: StoredResults | None


def _audit(subject: _Subject, folder: Path, mode: ExecutionMode, watch: Watch) -> Audit:
    origin, results, genesis = subject.origin, subject.results, subject.genesis
    began_with = height = proved_height = Height(0) if origin is None else origin.height
    replayed, difference, is_opened = None, None, False
    try:
        if origin is not None:
            check_block(origin, subject.data_dir, genesis.network_id)
            if results is not None:
                compare_origin(results, origin, genesis)
        with open_scratch(folder, subject.data_dir, genesis, mode, origin=origin, watch=watch) as execution:
            is_opened = True
            examiner = Examiner(execution, genesis, results)
            try:
                replayed = replay_all(
                    execution,
                    genesis,
                    stored_height=subject.stored_height,
                    watch=watch,
                    compare=examiner.examine,
                )
                examiner.finish()
            finally:
                height = execution.store.executed_height
                proved_height = Height(min(max(proved_height, examiner.proved_height), height))
    except Diverged as found:
        difference = found
    if is_opened:
        with guarded_io(folder):
            shutil.rmtree(folder)
    return Audit(
        began_with=began_with,
        height=height,
        proved_height=proved_height,
        stored_height=None if results is None else results.height,
        difference=difference,
        replayed=replayed,
    )


class Examiner:
    """Compares each block, executed anew, with what is stored; `Diverged` is the first difference."""

    def __init__(self, execution: Execution, genesis: Genesis, results: StoredResults | None) -> None:
        self.proved_height = 0
        self._execution = execution
        self._genesis = genesis
        self._results = results
        self._lineage = Lineage(execution.store, lambda: execution.machine, genesis)
        self._ahead: dict[int, BlockHash] = {}
        self._latest = b""

    def examine(self, stored: StoredBlock, executed: ExecutedBlock) -> None:
        """Compare one block before it is committed. Raises `Diverged`, or `CorruptState` for damage."""
        self._examine_proof(stored, executed)
        results = self._results
        if results is not None and stored.height <= results.height:
            compare_roots(
                results,
                Executed(
                    height=stored.height,
                    block_hash=executed.block_hash,
                    state_root=executed.state_root,
                    receipts_root=executed.receipts_root,
                ),
            )
            compare_receipts(results, stored.height, executed.receipts)
            compare_positions(results, executed, self._execution.store)

    def finish(self) -> None:
        """Compare the whole state with that of the block it is at, if that is the last one."""
        results, store = self._results, self._execution.store
        if results is None:
            return
        if results.height > store.executed_height:
            raise differs(results, store.executed_height + 1, "block", "executed", "not in blocks/")
        if results.height == store.executed_height:
            compare_parties(results, store)
            try:
                results.verify_state(store.executed)
            except CorruptState as error:
                raise differs(
                    results, results.height, "the state", error.value or error.message, error.limit
                ) from None

    def _examine_proof(self, stored: StoredBlock, executed: ExecutedBlock) -> None:
        """A proof is for its block or one above it, which is compared when it comes."""
        height = stored.height
        if stored.proof != self._latest:
            proof = self._verify_proof(stored, executed)
            if proof.height < height:
                raise self._unproved(height, f"for block {proof.height}", f"for block {height} or above")
            self._ahead[proof.height] = proof.block_hash
            self._latest = stored.proof
        proved = self._ahead.pop(height, None)
        if proved is None:
            return
        if proved != stored.block_hash:
            raise self._unproved(height, proved.hex(), stored.block_hash.hex())
        self.proved_height = height

    def _verify_proof(self, stored: StoredBlock, executed: ExecutedBlock) -> CommitProof:
        epoch = executed.decoded.block.header.epoch
        validators = self._lineage.find(epoch)
        try:
            proof = decode_commit_proof(stored.proof)
            if validators is None or proof.certificate.epoch != epoch:
                raise self._unproved(
                    stored.height, f"of epoch {proof.certificate.epoch}", f"of epoch {epoch}"
                )
            verify_commit_proof(proof, self._genesis.network_id, validators)
        except PeerFault as error:
            raise self._unproved(stored.height, error.message, error.limit) from None
        return proof

    def _unproved(self, height: Height, value: object, limit: object) -> Diverged:
        return Diverged(
            height=height,
            part="commit proof",
            place=str(self._execution.store.segments.find_path(height)),
            value=value,
            limit=limit,
            remedy=BLOCKS_REMEDY,
        )
