"""Evidence against validators: held until it is in the chain, checked before a vote, kept in the state (G4).

What is held lies in small files of its own, each with a checksum: `state/` may be thrown away and rebuilt
from blocks, and `consensus/` is set aside when a validator rejoins, but what is held is in no block yet.
At most one of a kind is held or recorded for each validator and epoch; more would prove nothing more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from typing import Final

from tanpo.ledger.block import BLOCK_EVIDENCE_MAX, EVIDENCE_BYTES_MAX
from tanpo.ledger.codec import Reader, Writer
from tanpo.ledger.errors import PeerFault, Reason
from tanpo.ledger.evidence import (
    DoubleOpening,
    DoubleVote,
    Evidence,
    LyingTimeout,
    decode_evidence,
    encode_evidence,
    verify_evidence,
)
from tanpo.ledger.types import Epoch, Height, NetworkId, ValidatorIndex
from tanpo.ledger.validators import ValidatorSet
from tanpo.node.logs import get_logger
from tanpo.node.metrics import Metrics
from tanpo.storage import LedgerStore
from tanpo.storage.files import create_synced, guarded_io, sync_folder

EVIDENCE_NAME: Final = "evidence"
EVIDENCE_PREFIX: Final = b"\x02\x00evidence/"

HELD_MAX: Final = 64
"""Most evidence held: more than all kinds against every validator a network tolerates as faulty."""

RECORDED_MAX: Final = 10_000
"""Most records read from the state at a start: three kinds against each validator of each epoch."""

_CHECKSUM_BYTES: Final = 32
_LOG: Final = get_logger("evidence")


class EvidenceKind(StrEnum):
    """What a validator did, as operators, metrics and clients call it."""

    DOUBLE_VOTE = "double-vote"
    DOUBLE_OPENING = "double-opening"
    LYING_TIMEOUT = "lying-timeout"


_KINDS: Final = {
    DoubleVote: EvidenceKind.DOUBLE_VOTE,
    DoubleOpening: EvidenceKind.DOUBLE_OPENING,
    LyingTimeout: EvidenceKind.LYING_TIMEOUT,
}


@dataclass(frozen=True, slots=True, order=True)
class Claim:
    """What evidence says: in this epoch, this validator did that."""

    epoch: Epoch
    accused: ValidatorIndex
    kind: EvidenceKind

    @property
    def key(self) -> bytes:
        """The state key of the record."""
        place = Writer().u64(self.epoch).u32(self.accused).finish()
        return EVIDENCE_PREFIX + place + self.kind.encode("ascii")

    @property
    def file_name(self) -> str:
        """The name of the file that holds it."""
        return f"{self.epoch}-{self.accused}-{self.kind}"


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceRead:
    """Evidence as clients get it. `height` is that of the block it stands in, 0 while it waits for one."""

    claim: Claim
    name: str
    height: int
    encoded: bytes


def make_claim(evidence: Evidence) -> Claim:
    """Return what a piece of evidence says."""
    return Claim(evidence.epoch, evidence.accused, _KINDS[type(evidence)])


def compute_changes(height: Height, evidence: Iterable[Evidence]) -> dict[bytes, bytes | None]:
    """Return what a block with this evidence writes into the state: the evidence itself, to be proved."""
    return {make_claim(one).key: Writer().u64(height).blob(encode_evidence(one)).finish() for one in evidence}


class EvidencePool:
    """What is known against validators. `has_waiting` while some of it is not in the chain yet."""

    def __init__(
        self,
        *,
        folder: Path,
        network_id: NetworkId,
        store: LedgerStore,
        find_validators: Callable[[Epoch], ValidatorSet | None],
        metrics: Metrics,
    ) -> None:
        self._folder = folder
        self._network_id = network_id
        self._store = store
        self._find_validators = find_validators
        self._metrics = metrics
        self._held: dict[Claim, bytes] = {}
        self._known: set[Claim] = set()

    @classmethod
    def open(
        cls,
        data_dir: Path,
        *,
        network_id: NetworkId,
        store: LedgerStore,
        find_validators: Callable[[Epoch], ValidatorSet | None],
        metrics: Metrics,
    ) -> EvidencePool:
        """Return the pool with what was held before, unless the chain has it meanwhile.

        Raises:
            CorruptState, Unavailable: the folder cannot be read or written.
        """
        pool = cls(
            folder=data_dir / EVIDENCE_NAME,
            network_id=network_id,
            store=store,
            find_validators=find_validators,
            metrics=metrics,
        )
        for read in pool._read_recorded():
            pool._note(read.claim, "chain")
        with guarded_io(pool._folder):
            pool._folder.mkdir(parents=True, exist_ok=True)
            for path in sorted(pool._folder.iterdir()):
                pool._load(path)
        return pool

    @property
    def has_waiting(self) -> bool:
        """Whether some evidence waits for a block."""
        return bool(self._held)

    def add(self, evidence: Evidence, source: str) -> bool:
        """Hold verified evidence, on disk when this returns; return whether it was new.

        Raises:
            CorruptState, Unavailable: it cannot be written; the process must stop.
        """
        claim = make_claim(evidence)
        if claim in self._known or len(self._held) >= HELD_MAX:
            return False
        encoded = encode_evidence(evidence)
        path = self._folder / claim.file_name
        scratch = path.with_suffix(".new")
        with guarded_io(path):
            scratch.unlink(missing_ok=True)
            create_synced(scratch, encoded + sha256(encoded).digest())
            scratch.rename(path)
            sync_folder(self._folder)
        self._held[claim] = encoded
        self._note(claim, source)
        return True

    def take(self, encoded: bytes, source: str) -> bool:
        """Hold what a peer shares; return whether it was new.

        Raises:
            PeerFault: it is no evidence.
        """
        evidence = decode_evidence(encoded)
        if make_claim(evidence) in self._known:
            return False
        self._verify(evidence)
        return self.add(evidence, source)

    def check(self, block_epoch: Epoch, evidence: Sequence[Evidence], taken: Set[Claim]) -> None:
        """Raise `PeerFault` unless a block of this epoch may carry this evidence; `taken` is in ancestors."""
        claims = [make_claim(one) for one in evidence]
        if len(set(claims)) != len(claims):
            raise _refuse("the same accusation twice in a block")
        for one, claim in zip(evidence, claims, strict=True):
            if claim in taken or self._store.get(claim.key) is not None:
                raise _refuse(f"{claim.file_name} is in the chain already")
            if claim.epoch > block_epoch:
                raise _refuse(f"{claim.file_name} is of a later epoch")
            self._verify(one)

    def select(self, taken: Set[Claim]) -> tuple[bytes, ...]:
        """Return what a leader puts into a block whose ancestors hold `taken`."""
        waiting = [encoded for claim, encoded in sorted(self._held.items()) if claim not in taken]
        return tuple(waiting[:BLOCK_EVIDENCE_MAX])

    def list_held(self) -> list[bytes]:
        """Return all that waits for a block, to be shared."""
        return [encoded for _, encoded in sorted(self._held.items())]

    def notice_committed(self, evidence: Iterable[Evidence]) -> None:
        """Hold no longer what a committed block has; it is in the state."""
        for one in evidence:
            claim = make_claim(one)
            self._note(claim, "block")
            if self._held.pop(claim, None) is not None:
                with guarded_io(self._folder):
                    (self._folder / claim.file_name).unlink(missing_ok=True)

    def read_all(self) -> list[EvidenceRead]:
        """Return what the chain has recorded, and what waits for a block."""
        waiting = [
            EvidenceRead(claim=claim, name=self._name(claim), height=0, encoded=encoded)
            for claim, encoded in sorted(self._held.items())
        ]
        return self._read_recorded() + waiting

    def _read_recorded(self) -> list[EvidenceRead]:
        found: list[EvidenceRead] = []
        for _, value in self._store.scan(EVIDENCE_PREFIX, EVIDENCE_PREFIX + b"\xff" * 9, RECORDED_MAX):
            reader = Reader(value)
            height, encoded = reader.u64(), reader.blob(EVIDENCE_BYTES_MAX)
            reader.finish()
            claim = make_claim(decode_evidence(encoded))
            found.append(EvidenceRead(claim=claim, name=self._name(claim), height=height, encoded=encoded))
        return found

    def _load(self, path: Path) -> None:
        """Hold again what a file has. A torn one is no loss to safety: others hold the same."""
        content = path.read_bytes()
        encoded, checksum = content[:-_CHECKSUM_BYTES], content[-_CHECKSUM_BYTES:]
        try:
            if path.suffix or sha256(encoded).digest() != checksum:
                raise _refuse("a file is torn")
            evidence = decode_evidence(encoded)
            self._verify(evidence)
        except PeerFault as fault:
            _LOG.warning("evidence dropped", file=path.name, why=fault.message)
            path.unlink()
            return
        claim = make_claim(evidence)
        if claim in self._known:
            path.unlink()
            return
        self._held[claim] = encoded
        self._note(claim, "disk")

    def _verify(self, evidence: Evidence) -> None:
        validators = self._find_validators(evidence.epoch)
        if validators is None:
            raise _refuse(f"the validators of epoch {evidence.epoch} are unknown here")
        verify_evidence(evidence, self._network_id, validators)

    def _note(self, claim: Claim, source: str) -> None:
        if claim in self._known:
            return
        self._known.add(claim)
        name = self._name(claim)
        self._metrics.evidence.labels(name, claim.kind).inc()
        _LOG.error("evidence", validator=name, kind=claim.kind, epoch=claim.epoch, source=source)

    def _name(self, claim: Claim) -> str:
        validators = self._find_validators(claim.epoch)
        if validators is None or claim.accused >= validators.validator_count:
            return f"validator {claim.accused} of epoch {claim.epoch}"
        accused = validators.validators[claim.accused]
        return f"{accused.member}/{accused.node}"


def _refuse(why: str) -> PeerFault:
    return PeerFault(Reason.PROOF_INVALID, f"evidence: {why}")
