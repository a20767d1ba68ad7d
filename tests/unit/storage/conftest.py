"""A small chain on disk that tests can grow, close and open again."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from tanpo.ledger.types import BlockHash, Height, MerkleRoot, NetworkId, TxId
from tanpo.storage import BlockCommit, LedgerStore, StoredBlock
from tanpo.storage.nodelog import LOG_FILE_BYTES

NETWORK = NetworkId(sha256(b"network").digest())


class Chain:
    """A store and the blocks that go into it, all of them a function of their height."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.segment_bytes = 2000
        self.log_file_bytes = LOG_FILE_BYTES
        self.window = 5
        self.store = self._open()

    def _open(self) -> LedgerStore:
        store = LedgerStore.open(
            self.path,
            network_id=NETWORK,
            window=self.window,
            segment_bytes=self.segment_bytes,
            log_file_bytes=self.log_file_bytes,
        )
        if not store.is_initialised:
            store.initialise(
                {b"genesis": b"1"}, block_hash=BlockHash(NETWORK), receipts_root=MerkleRoot(bytes(32))
            )
        return store

    def reopen(self) -> LedgerStore:
        self.store.close()
        self.store = self._open()
        return self.store

    @staticmethod
    def block(height: int) -> StoredBlock:
        source = random.Random(height)
        return StoredBlock(
            height=Height(height),
            block_hash=BlockHash(sha256(b"block %d" % height).digest()),
            block=source.randbytes(source.randrange(200, 400)),
            proof=b"proof %d" % height,
        )

    @staticmethod
    def changes(height: int) -> dict[bytes, bytes | None]:
        source = random.Random(-height)
        return {
            b"key %d" % source.randrange(60): source.choice([None, b"value %d" % height, b""])
            for _ in range(12)
        }

    def results(self, height: int) -> BlockCommit:
        changes = self.changes(height)
        return BlockCommit(
            height=Height(height),
            block_hash=self.block(height).block_hash,
            changes=changes,
            plan=self.store.tree.begin(Height(height), changes),
            receipts=(b"receipt %d" % height, b""),
            receipts_root=self.receipts_root(height),
            tx_ids=(self.tx_id(height, 0), self.tx_id(height, 1)),
            request_digests=(self.digest(height, 0), self.digest(height, 1)),
            parties=self.parties(height),
        )

    @staticmethod
    def receipts_root(height: int) -> MerkleRoot:
        return MerkleRoot(sha256(b"receipts %d" % height).digest())

    @staticmethod
    def tx_id(height: int, index: int) -> TxId:
        return TxId(sha256(b"tx %d %d" % (height, index)).digest())

    @staticmethod
    def digest(height: int, index: int) -> bytes:
        return sha256(b"request %d %d" % (height, index)).digest()

    @staticmethod
    def parties(height: int) -> tuple[tuple[str, ...], ...]:
        return (("alpha",), ("alpha", "beta") if height % 2 else ("alphabet",))

    def execute(self, height: int) -> None:
        self.store.commit(self.results(height))

    def grow(self, blocks: int) -> None:
        for _ in range(blocks):
            height = self.store.segment_height + 1
            self.store.append_block(self.block(height))
            self.execute(height)

    @classmethod
    def state_at(cls, height: int) -> dict[bytes, bytes]:
        state = {b"genesis": b"1"}
        for number in range(1, height + 1):
            for key, value in cls.changes(number).items():
                if value is None:
                    state.pop(key, None)
                else:
                    state[key] = value
        return state


@pytest.fixture
def make_chain(tmp_path: Path) -> Iterator[Callable[[str], Chain]]:
    chains: list[Chain] = []

    def make(name: str) -> Chain:
        chain = Chain(tmp_path / name)
        chains.append(chain)
        return chain

    yield make
    for chain in chains:
        chain.store.close()


@pytest.fixture
def chain(make_chain: Callable[[str], Chain]) -> Chain:
    return make_chain("ledger")
