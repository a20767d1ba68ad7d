"""Whatever is pruned, and wherever a crash cuts it short, a ledger answers right or refuses as pruned."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tanpo.ledger.errors import Reason, UsageError
from tanpo.ledger.types import BlockHash, Epoch, Height, MerkleRoot, NetworkId, TxId
from tanpo.storage import BlockCommit, LedgerStore, StoredBlock
from tanpo.storage.pruning import Passing
from tanpo.storage.segments import BlockSegments

NETWORK = NetworkId(sha256(b"network").digest())
PARTIES = ("alpha", "beta", "alphabet")

ACTS = st.one_of(
    st.tuples(st.just("grow"), st.integers(1, 9)),
    st.tuples(st.sampled_from(("prune", "before the write", "before the files")), st.integers(1, 14)),
    st.tuples(st.just("between the files"), st.integers(1, 14)),
    st.tuples(st.just("power cut"), st.integers(0, 255)),
    st.tuples(st.just("reopen"), st.just(0)),
)


class Killed(Exception):
    """The process ends here."""


class Ledger:
    """A ledger whose blocks are a function of their height, and what it should answer."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.removed: dict[Path, bytes] = {}
        self.store = self._open()
        self.store.initialise({}, block_hash=BlockHash(NETWORK), receipts_root=MerkleRoot(bytes(32)))
        self.first = 0

    def _open(self) -> LedgerStore:
        return LedgerStore.open(self.folder, network_id=NETWORK, window=4, segment_bytes=900)

    def reopen(self) -> None:
        self.store.close()
        self.store = self._open()

    def grow(self, blocks: int) -> None:
        for _ in range(blocks):
            height = Height(self.store.segment_height + 1)
            self.store.append_block(make_block(height))
            changes: dict[bytes, bytes | None] = {b"key %d" % (height % 5): b"%d" % height}
            self.store.commit(
                BlockCommit(
                    height=height,
                    block_hash=make_block(height).block_hash,
                    changes=changes,
                    plan=self.store.tree.begin(height, changes),
                    receipts=(b"receipt %d" % height,),
                    receipts_root=MerkleRoot(bytes(32)),
                    tx_ids=(make_tx_id(height),),
                    request_digests=(sha256(b"request %d" % height).digest(),),
                    parties=(tuple(sorted({PARTIES[0], PARTIES[height % 3]})),),
                )
            )

    def prune(self, by: int) -> None:
        height = min(self.first + by, self.store.segment_height)
        if height <= self.first:
            return
        heights = range(self.first + 1, height + 1)
        before = {path: path.read_bytes() for path in (self.folder / "blocks").iterdir()}
        try:
            self.store.pruner.advance(
                Passing(
                    height=Height(height),
                    tx_ids=[make_tx_id(one) for one in heights],
                    request_digests=[sha256(b"request %d" % one).digest() for one in heights],
                    link=(Epoch(height), b"link %d" % height),
                )
            )
        finally:
            self.first = self.store.beginning.height
            self.removed |= {path: content for path, content in before.items() if not path.exists()}

    def cut_power(self, which: int) -> None:
        """Bring back some of the files that were removed last: a folder that is not synced may do that."""
        for number, path in enumerate(sorted(self.removed)[-8:]):
            if which >> number & 1:
                path.write_bytes(self.removed[path])
        self.reopen()

    def check(self) -> None:
        store, tip = self.store, self.store.executed_height
        assert store.beginning.height == self.first
        for height in range(1, tip + 1):
            if height > self.first:
                assert store.read_block(Height(height)) == make_block(height)
                assert store.get_receipts(Height(height)) == (b"receipt %d" % height,)
                assert store.find_transaction(make_tx_id(height)) == (height, 0)
                continue
            with pytest.raises(UsageError) as refusal:
                store.get_receipts(Height(height))
            assert refusal.value.reason is Reason.HEIGHT_PRUNED
            assert store.find_transaction(make_tx_id(height)) is None
        for party in PARTIES:
            held = [height for height, _, _ in store.list_of_party(party, None, 1_000)]
            wanted = [one for one in range(tip, self.first, -1) if party in {PARTIES[0], PARTIES[one % 3]}]
            assert held == wanted
        for number in range(max(1, tip - 4), tip + 1):
            assert store.history.at(Height(tip)).get(b"key %d" % (number % 5)) == b"%d" % number
        if self.first:
            assert store.beginning.find_link(Epoch(self.first)) == b"link %d" % self.first


def make_block(height: int) -> StoredBlock:
    return StoredBlock(
        height=Height(height),
        block_hash=BlockHash(sha256(b"block %d" % height).digest()),
        block=bytes([height % 256]) * (50 + height * 37 % 200),
        proof=b"proof",
    )


def make_tx_id(height: int) -> TxId:
    return TxId(sha256(b"tx %d" % height).digest())


@contextmanager
def killed(act: str) -> Iterator[None]:
    """End a step of pruning at a point."""

    def die(*_: object, **__: object) -> None:
        raise Killed

    with pytest.MonkeyPatch.context() as patched:
        if act == "before the write":
            patched.setattr("tanpo.storage.database.Database.write", die)
        elif act == "before the files":
            patched.setattr(BlockSegments, "begin_at", die)
        else:
            unlink, seen = Path.unlink, []

            def unlink_one(path: Path) -> None:
                seen.append(path)
                if len(seen) > 1:
                    raise Killed
                unlink(path)

            patched.setattr(Path, "unlink", unlink_one)
        try:
            yield
        except Killed:
            return


@settings(max_examples=25)
@given(acts=st.lists(ACTS, min_size=4, max_size=14))
def test_a_pruned_ledger_answers_right_or_refuses(acts: list[tuple[str, int]]) -> None:
    folder = Path(tempfile.mkdtemp())
    ledger = Ledger(folder / "ledger")
    try:
        ledger.grow(12)
        for act, number in acts:
            match act:
                case "grow":
                    ledger.grow(number)
                case "prune":
                    ledger.prune(number)
                case "reopen":
                    ledger.reopen()
                case "power cut":
                    ledger.cut_power(number)
                case _:
                    with killed(act):
                        ledger.prune(number)
                    ledger.reopen()
                    ledger.first = ledger.store.beginning.height
            ledger.check()
        ledger.store.pruner.drop_files()
        firsts = sorted(int(path.stem) for path in (ledger.folder / "blocks").iterdir())
        assert len(firsts) == 1 or firsts[1] > max(1, ledger.first), "a file was left that nobody reads"
        ledger.check()
    finally:
        ledger.store.close()
        shutil.rmtree(folder)
