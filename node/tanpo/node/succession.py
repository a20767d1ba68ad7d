"""The replicas of a node, one for each epoch: what each is told of its past and its place (SPEC E3, E5)."""

from __future__ import annotations

from tanpo.consensus import (
    CommittedTip,
    PayloadSource,
    Replica,
    ReplicaConfig,
    Roots,
    Timing,
)
from tanpo.consensus.record import decode_record
from tanpo.ledger.certificate import compute_signed_digest, decode_commit_proof
from tanpo.ledger.errors import InvariantViolation
from tanpo.ledger.genesis import Genesis
from tanpo.ledger.keys import PrivateKey
from tanpo.ledger.types import Signature
from tanpo.node.epochs import EpochStart
from tanpo.node.execution import Execution
from tanpo.node.logs import get_logger
from tanpo.node.metrics import Metrics
from tanpo.node.promises import AMNESIA_REMEDY, Promises
from tanpo.node.resuming import resume
from tanpo.node.roster import Roster

_LOG = get_logger("epochs")


class Succession:
    """Makes the replica of the epoch that the stored chain is in, and of each that follows."""

    def __init__(
        self,
        *,
        genesis: Genesis,
        execution: Execution,
        promises: Promises,
        place: EpochStart,
        roster: Roster,
        signing_key: PrivateKey | None,
        payloads: PayloadSource,
        timing: Timing,
        may_rejoin: bool,
        metrics: Metrics,
    ) -> None:
        self._genesis = genesis
        self._execution = execution
        self._promises = promises
        self._place = place
        self._roster = roster
        self._signing_key = signing_key
        self._payloads = payloads
        self._timing = timing
        self._may_rejoin = may_rejoin
        self._metrics = metrics
        self._has_forgotten = False
        self._gap = ""
        self.replica: Replica | None = None

    def begin(self) -> Replica:
        """Return the replica to start with; it is `replica` from now on.

        Raises:
            CorruptState: what was promised is damaged.
        """
        self.replica = self._make()
        self._note_epoch()
        return self.replica

    def begin_epoch(self) -> Replica:
        """Return the replica of the epoch that the last block of another, just stored, has begun."""
        self._place = self._execution.load_epoch(self._genesis)
        if self.replica is not None and self._roster.own is not None:
            # Promises that this key signed before they were lost may be of the next epoch too.
            self._has_forgotten = self.replica.has_amnesia
        self._roster.begin(self._place.epoch, self._place.validators)
        return self.begin()

    def explain_stall(self) -> str:
        """Return why nothing moves, in words for people; empty while all does."""
        replica = self.replica
        reason = None if replica is None else replica.explain_stall(self._roster.names)
        if replica is not None and reason is not None and replica.has_amnesia and not self._may_rejoin:
            return f"{reason}; {self._gap}{AMNESIA_REMEDY}"
        return reason or ""

    def _make(self) -> Replica:
        roster, place = self._roster, self._place
        config = ReplicaConfig(
            network_id=self._genesis.network_id,
            epoch=roster.epoch,
            validator=roster.own,
            validator_count=roster.validators.validator_count,
            valset_hash=roster.validators.valset_hash,
            parameters=self._genesis.parameters,
            timing=self._timing,
            base=place.base,
            may_rejoin=self._may_rejoin,
        )
        image = self._promises.load()
        self._gap = self._explain_gap(image.record)
        resumption = resume(
            config,
            self._read_tip(),
            image,
            has_forgotten=self._has_forgotten or self._promises.has_forgotten,
        )
        if resumption.write is not None:
            self._promises.save(resumption.write)
        return Replica(config, roster.validators, self._sign, self._payloads, resumption.start)

    def _explain_gap(self, record: bytes | None) -> str:
        """Return that this node joined within the epoch, knowing no promises that it made in it (D6)."""
        base, beginning = self._place.base, self._execution.store.beginning.height
        if base is None or beginning < base.height:
            return ""
        if record is not None and decode_record(record).epoch == self._place.epoch:
            return ""
        return (
            f"this node joined at block {beginning}, after epoch {self._place.epoch} began, and cannot show "
            "that it signed nothing in it; "
        )

    def _sign(self, message: bytes) -> Signature:
        if self._signing_key is None:
            raise InvariantViolation("an observer was asked to sign")
        return self._signing_key.sign(compute_signed_digest(message))

    def _read_tip(self) -> CommittedTip:
        store = self._execution.store
        height = store.executed_height
        return CommittedTip(
            height=height,
            block_hash=store.executed_hash,
            term=self._execution.tip_term,
            time_ms=self._execution.tip_time_ms,
            roots=Roots(
                state_root=store.state_root,
                receipts_root=store.receipts_root,
                pending_valset=self._place.pending_valset,
            ),
            proof=decode_commit_proof(store.read_block(height).proof) if height else None,
        )

    def _note_epoch(self) -> None:
        roster = self._roster
        self._metrics.epoch.set(roster.epoch)
        # A validator by name that cannot vote is what an operator wants to hear of.
        log = _LOG.warning if roster.own is None and roster.is_validator(roster.own_name) else _LOG.info
        log(
            "epoch",
            epoch=roster.epoch,
            height=self._execution.store.executed_height,
            validators=roster.names,
            observer=roster.explain_silence(),
        )
