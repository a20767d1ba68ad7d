"""Joining a network by a snapshot instead of executing its whole chain (STATE section 5).

Peers are asked what they offer, and believed in nothing: the root of a state is trusted when the validators
of the genesis, and those that followed them, made the header final that carries it; every chunk is verified
against the root. A peer that sends what it cannot have by mistake is not asked again. Chunks come from all
others at once, and those that are in stay in: whoever is interrupted goes on with what is missing, by the
snapshot that was begun, as long as a peer offers that one. A newer one shares no chunk with it: each holds
the hashes beside its way to the root, and any change of the state changes those.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final, Protocol

from tanpo.api.v1 import peer_pb2
from tanpo.ledger.errors import LedgerError, PeerFault, Reason, Unavailable
from tanpo.ledger.genesis import Genesis
from tanpo.ledger.types import Height
from tanpo.node.logs import get_logger
from tanpo.node.metrics import Metrics
from tanpo.node.snapshot_heads import SnapshotHead, verify_head
from tanpo.node.stopping import StopRequest
from tanpo.storage.kept import SNAPSHOTS_NAME, SnapshotCopy
from tanpo.storage.manifest import decode_manifest
from tanpo.storage.snapshot_building import JOINING_NAME, SnapshotBuilder, find_plan, move_in

CALLS_PER_PEER: Final = 2
"""Chunks asked of one peer at a time: while one is verified and written, the next is on its way."""

FAILURES_MAX: Final = 5
"""After so many calls in a row that failed, a peer is left out of this attempt."""

OFFERS_MAX: Final = 8
"""Snapshots of one peer that are looked at; an honest one has two."""

ATTEMPTS_MAX: Final = 5
QUOTA_PAUSE_S: Final = 0.5
ATTEMPT_PAUSE_S: Final = 1.0
PROGRESS_EVERY_S: Final = 2.0

_LOG: Final = get_logger("join")


class Giver(Protocol):
    """A peer that may have snapshots, by its name; `SnapshotPeer` is the one on the network."""

    name: str

    async def list_all(self) -> peer_pb2.ListSnapshotsResponse:
        """Return what the peer offers. Raises `Unavailable` if it does not answer."""
        ...

    async def get(self, digest: bytes) -> tuple[bytes, bytes]:
        """Return manifest and proof of a snapshot. Raises `Unavailable`."""
        ...

    async def get_chunk(self, digest: bytes, position: int) -> bytes:
        """Return a chunk. Raises `Unavailable`; with NOT_FOUND, this peer does not have it."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """What joining came to. `peers` gave chunks, `banned` sent what was false."""

    height: Height
    chunks: int
    size: int
    seconds: float
    peers: tuple[str, ...]
    banned: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A snapshot, and the peers that offer it."""

    height: Height
    digest: bytes
    peers: tuple[Giver, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Offers:
    """What the peers said: the snapshots, the best first, and the first block that any of them has.

    `is_complete`: all peers answered but those that are banned.
    """

    candidates: list[Candidate]
    first_height: Height
    is_complete: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Growing:
    """A snapshot that is being joined by: who offers it, and where its chunks go."""

    candidate: Candidate
    builder: SnapshotBuilder
    copy: SnapshotCopy


class Joining:
    """Joins one data directory, which nobody else may use meanwhile, by what these peers offer."""

    def __init__(
        self,
        *,
        data_dir: Path,
        genesis: Genesis,
        peers: Sequence[Giver],
        metrics: Metrics,
        stop: StopRequest,
    ) -> None:
        self._data_dir = data_dir
        self._genesis = genesis
        self._peers = peers
        self._metrics = metrics
        self._stop = stop
        self._banned: dict[str, str] = {}
        self._givers: set[str] = set()
        self._taken = 0
        self._progress = "joining: asking the peers for snapshots"
        self._told_at = 0.0

    def explain(self) -> list[str]:
        """Return what goes on, in words for people, and which peers lied."""
        return [
            self._progress,
            *(f"{name} is not asked any more: {why}" for name, why in self._banned.items()),
        ]

    async def find_offers(self) -> Offers:
        """Return what is offered, the best first.

        Raises:
            Unavailable: no peer answers.
        """
        asked = [peer for peer in self._peers if peer.name not in self._banned]
        answers = await asyncio.gather(*(peer.list_all() for peer in asked), return_exceptions=True)
        offers: dict[tuple[int, bytes], list[Giver]] = {}
        firsts: list[int] = []
        for peer, answer in zip(asked, answers, strict=True):
            if isinstance(answer, LedgerError):
                _LOG.debug("peer has no answer", peer=peer.name, why=answer.message)
                continue
            if isinstance(answer, BaseException):
                raise answer
            firsts.append(answer.first_height)
            for offer in answer.snapshots[:OFFERS_MAX]:
                offers.setdefault((offer.height, offer.digest), []).append(peer)
        if not firsts:
            raise _unavailable(
                "no peer answers", f"{len(asked)} asked", "start it when some of its peers are up"
            )
        ranked = sorted(offers.items(), key=lambda item: (item[0][0], len(item[1])), reverse=True)
        candidates = [
            Candidate(height=Height(height), digest=digest, peers=tuple(peers))
            for (height, digest), peers in ranked
        ]
        return Offers(
            candidates=candidates,
            first_height=Height(min(firsts)),
            is_complete=len(firsts) == len(asked),
        )

    async def run(self, own_height: Height) -> Joined:
        """Join by the snapshot above `own_height` that was begun, or else the best one; a ledger that is
        there is then replaced by it.

        Raises:
            Stopped: it was asked to end. What was fetched stays, as it does in the other cases.
            Unavailable: there is none, or it cannot be had now.
            CorruptState: the disk refuses.
        """
        started = time.monotonic()
        failure = _unavailable(
            "no peer offers a snapshot that this node could join by",
            f"above height {own_height}",
            "wait for the next snapshot, or start the node: it executes the blocks",
        )
        fruitless: set[bytes] = set()
        for attempt in range(ATTEMPTS_MAX):
            if attempt:
                await asyncio.sleep(ATTEMPT_PAUSE_S)
            for candidate in self._rank(await self.find_offers(), own_height, fruitless):
                taken = self._taken
                try:
                    return await self._join(candidate, started)
                except Unavailable as error:
                    if error.reason is Reason.DISK_FULL:
                        raise
                    failure = error
                    _LOG.warning("snapshot not joined by", height=candidate.height, why=error.message)
                if self._taken > taken:
                    break  # Before another takes the place of what came, the peers are asked again.
                fruitless.add(candidate.digest)
        raise failure

    def _rank(self, offers: Offers, own_height: Height, fruitless: set[bytes]) -> list[Candidate]:
        """Return the snapshots above a height in the order in which they are tried: the one that was begun
        comes first, unless it gave nothing the last time."""
        begun = find_plan(self._data_dir / JOINING_NAME)
        found = [one for one in offers.candidates if one.height > own_height]
        return sorted(found, key=lambda one: one.digest != begun or one.digest in fruitless)

    async def _join(self, candidate: Candidate, started: float) -> Joined:
        snapshot = await self.prove(candidate)
        folder = self._data_dir / JOINING_NAME
        builder = SnapshotBuilder.open(folder, snapshot.manifest)
        copy = SnapshotCopy(folder / SNAPSHOTS_NAME, snapshot.manifest)
        try:
            await self._fetch_chunks(_Growing(candidate=candidate, builder=builder, copy=copy))
            copy.finish(snapshot.encoded_proof)
            builder.finish(self._genesis.network_id, snapshot.make_arrival())
        finally:
            builder.close()
        move_in(self._data_dir)
        joined = Joined(
            height=snapshot.manifest.height,
            chunks=len(snapshot.manifest.chunks),
            size=snapshot.manifest.size,
            seconds=round(time.monotonic() - started, 1),
            peers=tuple(sorted(self._givers)),
            banned=tuple(self._banned),
        )
        self._progress = f"joined at height {joined.height}"
        _LOG.info(
            "joined", height=joined.height, chunks=joined.chunks, bytes=joined.size, seconds=joined.seconds
        )
        return joined

    async def prove(self, candidate: Candidate) -> SnapshotHead:
        """Return the head of a snapshot, its root proved from the genesis by one of those who offer it.

        Raises:
            Unavailable: none of them proves it.
        """
        for peer in candidate.peers:
            if peer.name in self._banned:
                continue
            try:
                encoded, proof = await peer.get(candidate.digest)
                return self._check_head(candidate, encoded, proof)
            except PeerFault as fault:
                self._ban(peer, fault)
            except Unavailable as error:
                _LOG.warning("peer gives no snapshot", peer=peer.name, why=error.message)
        raise _unavailable(
            "no peer proves the snapshot",
            f"height {candidate.height}",
            "wait, or add peers to the configuration",
        )

    def _check_head(self, candidate: Candidate, encoded: bytes, proof: bytes) -> SnapshotHead:
        if sha256(encoded).digest() != candidate.digest:
            raise PeerFault(Reason.PROOF_INVALID, "this is not the manifest that was listed")
        return verify_head(decode_manifest(encoded), proof, self._genesis)

    async def _fetch_chunks(self, growing: _Growing) -> None:
        missing = deque(growing.builder.missing)
        self._note_progress(growing, len(missing))
        workers = [
            asyncio.create_task(self._work(peer, growing, missing))
            for peer in growing.candidate.peers
            for _ in range(CALLS_PER_PEER)
        ]
        try:
            for done in asyncio.as_completed(workers):
                await done
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
        if growing.builder.missing:
            raise _unavailable(
                "the peers that are left do not give the chunks that are missing",
                f"{len(growing.builder.missing)} chunks",
                "join again: those that are in stay in",
            )

    async def _work(self, peer: Giver, growing: _Growing, missing: deque[int]) -> None:
        """Fetch chunk after chunk from one peer, until there are none or the peer is of no use."""
        failures = 0
        while missing and failures < FAILURES_MAX and peer.name not in self._banned:
            self._stop.check()
            position = missing.popleft()
            is_in = False
            try:
                encoded = await peer.get_chunk(growing.candidate.digest, position)
                if peer.name in self._banned:
                    return
                is_in = self._take(peer, growing, position, encoded)
                failures = 0
            except Unavailable as error:
                if error.reason in (Reason.NOT_FOUND, Reason.DISK_FULL):
                    if error.reason is Reason.DISK_FULL:
                        raise
                    return
                failures += error.reason is not Reason.MEMBER_QUOTA
                await asyncio.sleep(QUOTA_PAUSE_S)
            finally:
                if not is_in:
                    missing.append(position)
            self._note_progress(growing, len(growing.builder.missing))

    def _take(self, peer: Giver, growing: _Growing, position: int, encoded: bytes) -> bool:
        """Put a chunk in if it is true, and return whether it was."""
        try:
            growing.builder.check_copy(position, encoded)
        except PeerFault as fault:
            self._ban(peer, fault)
            return False
        try:
            chunk = growing.builder.verify(position, encoded)
        except PeerFault as fault:
            # It is what the manifest names: then the manifest is false, and whoever offers it made it up.
            for liar in growing.candidate.peers:
                self._ban(liar, fault)
            return False
        # First, so that what is in is in both: a chunk that is in is not fetched again.
        growing.copy.add(position, encoded)
        growing.builder.insert(position, chunk)
        self._givers.add(peer.name)
        self._taken += 1
        return True

    def _ban(self, peer: Giver, fault: PeerFault) -> None:
        if peer.name not in self._banned:
            self._banned[peer.name] = fault.message
            self._metrics.peer_faults.labels(peer.name).inc()
            _LOG.error("peer banned", peer=peer.name, why=fault.message, value=fault.value, limit=fault.limit)

    def _note_progress(self, growing: _Growing, missing: int) -> None:
        height, total = growing.candidate.height, growing.builder.chunk_count
        self._metrics.join_chunks.set(total)
        self._metrics.join_chunks_missing.set(missing)
        self._progress = f"joining by the snapshot of height {height}: {total - missing} of {total} chunks"
        now = time.monotonic()
        if now - self._told_at >= PROGRESS_EVERY_S or not missing:
            self._told_at = now
            _LOG.info("joining", height=height, chunks=total, missing=missing, peers=len(self._givers))


def _unavailable(why: str, value: str, remedy: str) -> Unavailable:
    return Unavailable(Reason.UNREACHABLE, f"cannot join: {why}", value=value, remedy=remedy)
