"""Size and cost of proofs of the state, as one JSON object on stdout.

    python bench/proofs.py [--keys 1000000] [--proofs 2000]

Inclusion and absence of single keys, a group of 100 among 1,000 groups, and 50 keys at once: bytes, time to
make and to verify, signatures left out, and a file of each kind with signatures. Times are processor time,
and each proof is of a key drawn anew and made once, so that caches help no more than they would a node.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from measuring import best_ns, print_figures
from tanpo.client import exporting
from tanpo.ledger.proofcheck import ProofChecker
from tanpo.ledger.prooffile import ProofFile, encode_proof_file
from tanpo.ledger.proofparse import decode_proof_file
from tanpo.ledger.statekey import compute_stop, index_key
from tanpo.ledger.stateproof import PathRange, group_range, key_range, verify_partial_tree
from tanpo.ledger.types import BlockHash, Height, MerkleRoot, NetworkId
from tanpo.storage import BlockCommit, LedgerStore, StoredBlock
from tanpo.testing.town import Town

HASH = bytes(32)
KEYS_A_BLOCK = 100_000
GROUPS = 1_000
GROUP_SIZE = 100
TOGETHER = 50
US = 1_000


def key_of(number: int) -> bytes:
    """Return a key of about the length that contract data has."""
    return b"\x01\x00balances/%016d" % number


def member_of(group: int, number: int) -> bytes:
    """Return a key of an index group."""
    return index_key(b"accounts/%08d" % group, b"%016d" % number)


def build(folder: Path, keys: int) -> LedgerStore:
    """Return a store of so many keys, one in ten of them in index groups of 100, at most 1,000 groups."""
    store = LedgerStore.open(folder, network_id=NetworkId(HASH))
    store.initialise({}, block_hash=BlockHash(HASH), receipts_root=MerkleRoot(HASH))
    grouped = [(group, number) for group in range(min(GROUPS, keys // 1_000)) for number in range(GROUP_SIZE)]
    spelled = [member_of(*one) for one in grouped] + [key_of(n) for n in range(keys - len(grouped))]
    random.Random(5).shuffle(spelled)
    for height, start in enumerate(range(0, keys, KEYS_A_BLOCK), 1):
        changes: dict[bytes, bytes | None] = {
            key: b"" if key[1] else b"value of " + key for key in spelled[start : start + KEYS_A_BLOCK]
        }
        block_hash = BlockHash(height.to_bytes(32, "big"))
        plan = store.tree.begin(Height(height), changes)
        store.append_block(
            StoredBlock(height=Height(height), block_hash=block_hash, block=b"block", proof=b"")
        )
        store.commit(
            BlockCommit(
                height=Height(height),
                block_hash=block_hash,
                changes=changes,
                plan=plan,
                receipts=(),
                receipts_root=MerkleRoot(HASH),
                tx_ids=(),
                request_digests=(),
                parties=(),
            )
        )
    return store


def prove(store: LedgerStore, ranges: Iterable[PathRange]) -> bytes:
    """Make a partial tree as a node does, without its pauses."""
    steps = store.prove(store.executed_height, ranges)
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            encoded: bytes = stop.value.encoded
            return encoded


def measure(
    store: LedgerStore, asked: list[list[PathRange]], look: Callable[[int, bytes], None]
) -> dict[str, object]:
    """Make and verify one proof for each question, and return the figures."""
    sizes: list[int] = []
    made: list[int] = []
    verified: list[int] = []
    for number, ranges in enumerate(asked):
        started = time.thread_time_ns()
        encoded = prove(store, ranges)
        done = time.thread_time_ns()
        look(number, encoded)
        verified.append(time.thread_time_ns() - done)
        made.append(done - started)
        sizes.append(len(encoded))
    return {
        "proofs": len(asked),
        "bytes_mean": round(statistics.mean(sizes)),
        "bytes_max": max(sizes),
        "make_us_median": round(statistics.median(made) / US, 1),
        "make_us_mean": round(statistics.mean(made) / US, 1),
        "verify_us_median": round(statistics.median(verified) / US, 1),
    }


def measure_tree(store: LedgerStore, keys: int, proofs: int) -> dict[str, object]:
    """Return the figures of partial trees."""
    source, root = random.Random(7), store.state_root
    plain = keys - min(GROUPS, keys // 1_000) * GROUP_SIZE
    present = [key_of(source.randrange(plain)) for _ in range(proofs)]
    absent = [key_of(keys + number) for number in range(proofs)]
    many = [[key_of(source.randrange(plain)) for _ in range(TOGETHER)] for _ in range(max(1, proofs // 50))]
    groups = [source.randrange(min(GROUPS, keys // 1_000)) for _ in range(max(1, proofs // 50))]
    members = [[member_of(group, number) for number in range(GROUP_SIZE)] for group in groups]

    def look_present(number: int, encoded: bytes) -> None:
        key = present[number]
        verify_partial_tree(encoded, root).verify_value(key, b"value of " + key)

    def look_absent(number: int, encoded: bytes) -> None:
        verify_partial_tree(encoded, root).verify_value(absent[number], None)

    def look_many(number: int, encoded: bytes) -> None:
        tree = verify_partial_tree(encoded, root)
        for key in many[number]:
            tree.verify_value(key, b"value of " + key)

    def look_group(number: int, encoded: bytes) -> None:
        tree = verify_partial_tree(encoded, root)
        group = b"accounts/%08d" % groups[number]
        names = [key for one in store.groups.list_sharing(group) for key in list_members(store, one)]
        if tree.verify_group(group, names) != members[number]:
            raise SystemExit("a listing is not complete")

    return {
        "inclusion": measure(store, [[key_range(key)] for key in present], look_present),
        "absence": measure(store, [[key_range(key)] for key in absent], look_absent),
        "keys_50": measure(store, [[key_range(key) for key in keys] for keys in many], look_many),
        "group_100": measure(
            store, [[group_range(b"accounts/%08d" % group)] for group in groups], look_group
        ),
    }


def list_members(store: LedgerStore, group: bytes) -> list[bytes]:
    """Return the keys of an index group, as a node names them."""
    first = index_key(group, b"")
    return [key for key, _ in store.scan(first, compute_stop(first), GROUP_SIZE + 1)]


def measure_files(folder: Path) -> dict[str, object]:
    """Return size and cost of checking of a file of each kind, its four signatures included."""
    town = Town(folder)
    town.open_book(dealer_a=1_000)
    receipt = town.transfer(10)
    town.chain.run()
    files: dict[str, ProofFile] = {
        "receipt": town.run(exporting.receipt_file(town.context, receipt.tx_id)),
        "balance": town.run(
            exporting.value_file(town.context, "instruments", "positions", ("dealer-a", "yen"), 0)
        ),
        "absence": town.run(exporting.value_file(town.context, "members", "roles", "nobody", 0)),
    }
    checker = ProofChecker(town.chain.genesis)
    figures: dict[str, object] = {}
    for kind, file in files.items():
        text = encode_proof_file(file)

        def check(text: str = text) -> None:
            checker.verify(decode_proof_file(text))

        figures[kind] = {"bytes": len(text), "check_us": round(best_ns(check, 50) / US, 1)}
    town.chain.close()
    return figures


def main() -> None:
    """Run the benchmark and print its result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--proofs", type=int, default=2_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = build(Path(folder) / "ledger", options.keys)
        figures = measure_tree(store, options.keys, options.proofs)
        store.close()
        files = measure_files(Path(folder) / "town")
    print_figures({"keys": options.keys, "tree": figures, "files": files})


if __name__ == "__main__":
    main()
