"""`tanpo node audit`: the chain executed anew from genesis, and all that a node stores compared with it.

Compared are, of each block: its hash, that of its parent, the roots that its header carries, the signatures
of its commit proof under the validators of its epoch, and, where the node is stopped, what its LevelDB holds:
roots, each receipt, each position, and at the end the index of members' transactions and the whole state.
"""

from __future__ import annotations

import os
import shutil
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Final

from tanpo.ledger.certificate import CommitProof, decode_commit_proof, verify_commit_proof
from tanpo.ledger.errors import CorruptState, PeerFault
from tanpo.ledger.genesis import Genesis
from tanpo.ledger.types import BlockHash, Height
from tanpo.node.config import ExecutionMode
from tanpo.node.epochs import Lineage
from tanpo.node.execution import ExecutedBlock, Execution
from tanpo.node.replaying import Diverged, Watch
from tanpo.node.scratch import Replayed, open_scratch, replay_all
from tanpo.storage import LedgerStore, StoredBlock
from tanpo.storage.files import guarded_io, lock_folder
from tanpo.storage.layout import (
    PARTIES_START,
    PARTIES_STOP,
    STATE_NAME,
    decode_party_position,
    read_progress,
)
from tanpo.storage.ledger_store import read_rows
from tanpo.storage.results import StoredResults

AUDIT_NAME: Final = "audit"
STATE_REMEDY: Final = "run `tanpo node rebuild`, or audit the blocks alone with --chain-only"
BLOCKS_REMEDY: Final = (
    "this node's software or its blocks are not the network's: compare both with those of other members"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """What an audit found. `difference` is the first one, `None` if all is as it should be.

    `proved_height`: up to there a quorum's signatures make the blocks final, as far as this run saw; the
    proof of the latest blocks may be for one that is not stored yet. `stored_height` is that of the LevelDB
    that was compared, `None` if none was.
    """

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
) -> Audit:
    """Execute the chain in the folder `audit` of `scratch`, by default of the data directory, and compare.

    With `is_chain_only` nothing but blocks, `network` and `guard` is read, which a running node allows.
    Interrupted, it goes on where it was when it is called again; ended, it leaves no folder behind.

    Raises:
        Stopped: `watch` was asked to end it.
        UsageError: there is no ledger, it is of another network, or its node runs and LevelDB is to be read.
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
        execution = opened.enter_context(open_scratch(folder, data_dir, genesis, mode))
        examiner = Examiner(execution, genesis, results)
        replayed, difference = None, None
        try:
            replayed = replay_all(
                execution,
                genesis,
                stored_height=progress.segment_height,
                watch=watch,
                compare=examiner.examine,
            )
            examiner.finish()
        except Diverged as found:
            difference = found
        audit = Audit(
            height=execution.store.executed_height,
            proved_height=min(examiner.proved_height, execution.store.executed_height),
            stored_height=None if results is None else results.height,
            difference=difference,
            replayed=replayed,
        )
    with guarded_io(folder):
        shutil.rmtree(folder)
    return audit


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
            _compare_record(results, stored, executed)
            _compare_receipts(results, stored.height, executed.receipts)
            _compare_positions(results, executed)

    def finish(self) -> None:
        """Compare the whole state with that of the block it is at, if that is the last one."""
        results, store = self._results, self._execution.store
        if results is None:
            return
        if results.height > store.executed_height:
            raise _differs(results, store.executed_height + 1, "block", "executed", "not in blocks/")
        if results.height == store.executed_height:
            _compare_parties(results, store)
            try:
                results.verify_state(store.executed)
            except CorruptState as error:
                raise _differs(
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


def _compare_record(results: StoredResults, stored: StoredBlock, executed: ExecutedBlock) -> None:
    record = results.find_executed(stored.height)
    if record is None:
        raise _differs(results, stored.height, "record", "missing", "hash and roots")
    for part, found, expected in (
        ("hash", record.block_hash, executed.block_hash),
        ("state root", record.state_root, executed.state_root),
        ("receipts root", record.receipts_root, executed.receipts_root),
    ):
        if found != expected:
            raise _differs(results, stored.height, part, found.hex(), expected.hex())


def _compare_receipts(results: StoredResults, height: Height, expected: tuple[bytes, ...]) -> None:
    found = results.find_receipts(height) or ()
    if len(found) != len(expected):
        raise _differs(results, height, "number of receipts", len(found), len(expected))
    for index, (one, other) in enumerate(zip(found, expected, strict=True)):
        if one != other:
            raise _differs(results, height, f"receipt {index}", one.hex(), other.hex())


def _compare_positions(results: StoredResults, executed: ExecutedBlock) -> None:
    height = executed.decoded.block.header.height
    for index, tx in enumerate(executed.decoded.transactions):
        for part, found in (
            (f"position of transaction {tx.tx_id.hex()}", results.find_transaction(tx.tx_id)),
            (f"position of request {tx.request_id}", results.find_request(tx.request_digest)),
        ):
            if found != (height, index):
                raise _differs(results, height, part, found or "missing", (height, index))


def _compare_parties(results: StoredResults, store: LedgerStore) -> None:
    """Compare the whole index, so that rows of transactions that nobody sent are found too."""
    expected = (row for row in read_rows(store) if PARTIES_START <= row[0] < PARTIES_STOP)
    for found, wanted in zip_longest(results.read_parties(), expected):
        if found != wanted:
            # The lower key is the row that the other side lacks, or has with another value.
            key = min(row[0] for row in (found, wanted) if row is not None)
            height, index = decode_party_position(key)
            raise _differs(
                results,
                height,
                f"entry of transaction {index} in the index of members' transactions",
                found[0].hex() if found else "missing",
                wanted[0].hex() if wanted else "none",
            )


def _differs(results: StoredResults, height: int, part: str, value: object, limit: object) -> Diverged:
    return Diverged(
        height=height, part=part, place=str(results.path), value=value, limit=limit, remedy=STATE_REMEDY
    )
