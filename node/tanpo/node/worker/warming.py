"""Everything a worker will ever need, used once before it is locked in.

Python imports, and libraries read their settings, when something is first used. After that a worker can open
no file. So a contract is compiled, run, refused and failed here, as it will be later.
"""

from __future__ import annotations

import contextlib
from typing import Final

from tanpo.ledger.errors import LedgerError, invariant
from tanpo.ledger.transaction import Call
from tanpo.ledger.types import BlockHash, Height
from tanpo.node.contract_sets import ContractSet, ContractSource, Programs
from tanpo.node.tasks import Task, TaskKind, run_task
from tanpo.node.worker import wire
from tanpo.node.worker.wire import Opening
from tanpo.vm.signatures import verify_p256

SAMPLE: Final = """
@record
class Note:
    text: str
    size: int

notes: Map[str, Note]
names: Index[str, int]
total: int

@init
def setup() -> None:
    total = 0

@entry
def write(text: str) -> int:
    require(text not in notes, "TAKEN", text=text)
    notes[text] = Note(text, len(text))
    names.add(text, len(text))
    total += 1
    emit("Written", text=text, label=f"{text}/{total}")
    return 100 // (total - 1)

@view
def count() -> int:
    return total

@view
def digest(text: str) -> str:
    data = text.encode()
    return (sha256(data) + sha512(data) + sha3_256(data)).hex()
"""

GENERATOR: Final = bytes.fromhex(
    "3059301306072a8648ce3d020106082a8648ce3d03010703420004"
    "6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"
    "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"
)
"""A public key that is one: the generator of P-256 (SEC 2, 2.4.2)."""

SIGNATURE: Final = bytes.fromhex("3006020101020101")
"""The shortest that has the form of one."""


class _Nothing:
    def get(self, _key: bytes) -> bytes | None:
        return None

    def scan(self, _start: bytes, _stop: bytes, _limit: int) -> list[tuple[bytes, bytes]]:
        return []


def warm_up() -> None:
    """Use every part of the machine and of the wire once."""
    sample = ContractSource.create("sample", SAMPLE)
    opening = wire.decode_opening(wire.encode_opening(_open(sample)))
    programs = Programs()
    with contextlib.suppress(LedgerError):
        programs.compile(ContractSet.create([ContractSource.create("wrong", "import os\nx = é(")]))
    session = programs.get_machine(ContractSet.create(opening.contracts)).open_session(_Nothing())
    arguments = {"text": "a"}
    tasks = [
        Task.of_node(TaskKind.INIT, Call.create("sample", "", {})),
        Task.of_node(TaskKind.ENTRY, Call.create("sample", "write", arguments)),
        Task.of_node(TaskKind.ENTRY, Call.create("sample", "write", {})),
        Task.of_node(TaskKind.VIEW, Call.create("sample", "count", {})),
        Task.of_node(TaskKind.VIEW, Call.create("sample", "digest", arguments)),
    ]
    receipts = [run_task(session, task, opening, 0) for task in wire.decode_tasks(wire.encode_tasks(tasks))]
    wire.decode_receipts(wire.encode_receipts(receipts, is_last=True, cpu_us=0))
    invariant(not verify_p256(GENERATOR, b"", SIGNATURE), "a signature of nobody was found good")
    wire.encode_changes(session.collect_changes().items(), is_last=True)


def _open(sample: ContractSource) -> Opening:
    nowhere = BlockHash(bytes(32))
    return Opening(
        block_hash=nowhere,
        parent_hash=nowhere,
        committed_hash=nowhere,
        height=Height(1),
        time_ms=1,
        contracts=(sample,),
    )
