"""A dry run: the last blocks of a chain executed again, as they were and as a new source would have run them.

A node keeps the latest state alone. So the state below those blocks is computed from genesis by executing
every block, in memory, and compared with the roots that the chain carries: nobody's word is taken for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from tanpo.ledger.block import Block, BlockFlags
from tanpo.ledger.errors import CorruptState, Reason, UsageError
from tanpo.ledger.genesis import Genesis
from tanpo.ledger.merkle import compute_merkle_root
from tanpo.ledger.plans import ContractPlan, decode_arguments
from tanpo.ledger.receipt import Event, Receipt, decode_receipt, encode_receipt
from tanpo.ledger.statekey import compute_state_root, path_of, value_hash
from tanpo.ledger.transaction import Transaction
from tanpo.ledger.types import StateRoot
from tanpo.node.agreed import Agreed, announce, find_agreed, may_agree, settle_agreed
from tanpo.node.body import DecodedBlock, decode_body
from tanpo.node.contract_sets import Programs
from tanpo.node.epochs import VALIDATORS_CONTRACT, begin_epoch, settle_pending
from tanpo.node.evidence import compute_changes
from tanpo.node.installing import EmptyState, Installation, install, install_genesis
from tanpo.node.keyring import KeyRing
from tanpo.node.metrics import Metrics
from tanpo.node.requests import RequestMemory
from tanpo.node.running import BlockRun, LocalRunner, Scene, Steps, play_blocking
from tanpo.node.tasks import Task
from tanpo.node.versions import InstalledContracts, load_contracts
from tanpo.storage import Overlay
from tanpo.vm import CallContext

_SCAN_ALL: Final = 1 << 62

Writes = Mapping[bytes, bytes | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What a transaction would have done otherwise: each aspect as it was and as it would be, in words."""

    height: int
    index: int
    tx_id: bytes
    contract: str
    entry: str
    changed: Mapping[str, tuple[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal:
    """What came of a dry run over blocks `first_height` to `last_height`.

    `setup_gas` is what `@init` or `@migrate` spent of its limit.
    """

    first_height: int
    last_height: int
    transaction_count: int
    setup_gas: int
    setup_events: tuple[Event, ...]
    differences: tuple[Difference, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ran:
    """What came of a block: receipts as its transactions left them, and as the block has them in the end."""

    decoded: DecodedBlock
    receipts: Sequence[Receipt]
    announced: Sequence[bytes]
    writes: Sequence[Writes]
    contracts: InstalledContracts
    changes: dict[bytes, bytes | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Played:
    """What came of a block's transactions: what each of them wrote, all changes, and what they agreed."""

    receipts: Sequence[bytes]
    writes: Sequence[Writes]
    changes: dict[bytes, bytes | None]
    agreed: Agreed | None


class Replay:
    """Executes the blocks of a chain from genesis, in memory."""

    def __init__(self, genesis: Genesis) -> None:
        self._genesis = genesis
        self._programs = Programs()
        self._state = Overlay(EmptyState(), install_genesis(genesis, self._programs))
        self._contracts = load_contracts(self._state, self._programs)
        self._keyring = KeyRing.load(self._state, genesis)
        self._memory = RequestMemory()
        self._runner = LocalRunner(self._programs, Metrics())
        self._tip: tuple[int, int] = (0, genesis.time_ms)
        self._receipts: Sequence[bytes] = ()

    @property
    def contracts(self) -> InstalledContracts:
        """The contracts after the latest block."""
        return self._contracts

    def compute_root(self) -> StateRoot:
        """Return the root of the whole state: some microseconds for each of its keys."""
        pairs = self._state.scan(b"", b"\xff" * 2, _SCAN_ALL)
        return compute_state_root((path_of(key), value_hash(value)) for key, value in pairs)

    def execute(self, block: Block) -> None:
        """Execute the next block.

        Raises:
            CorruptState: the block carries other receipts of the one below it than executing that one gave.
            UsageError: it is not the next block.
        """
        height, _ = self._tip
        if block.header.height != height + 1:
            raise UsageError(
                Reason.MISUSE,
                f"block {block.header.height} is executed after block {height}",
                value=block.header.height,
                limit=height + 1,
                remedy="hand in every block, in order of height",
            )
        self._advance(block, has_writes=False)

    def rehearse(self, plan: ContractPlan, source: bytes, blocks: Sequence[Block]) -> Rehearsal:
        """Execute the next blocks as they are, and as they would run if the plan were in force below them.

        Raises:
            InstallationRefused: the plan may not be put in force, with every reason.
            CorruptState: what the blocks carry does not agree with what executing them gives.
        """
        height, time_ms = self._tip
        if blocks and self.compute_root() != blocks[0].header.state_root:
            raise _diverged(height, "state")
        context = CallContext(
            sender="", signers=(), time_ms=time_ms, height=height, tx_id=self._genesis.network_id
        )
        then = install(
            plan,
            source,
            decode_arguments(plan.arguments),
            contracts=self._contracts,
            state=self._state,
            context=context,
            programs=self._programs,
        )
        differences = self._compare(blocks, then)
        return Rehearsal(
            first_height=height + 1,
            last_height=height + len(blocks),
            transaction_count=sum(block.header.tx_count for block in blocks),
            setup_gas=then.gas_used,
            setup_events=then.events,
            differences=tuple(differences),
        )

    def _compare(self, blocks: Sequence[Block], then: Installation) -> list[Difference]:
        would, contracts = Overlay(EmptyState(), self._state.changes), then.contracts
        would.apply(then.changes)
        differences: list[Difference] = []
        for block in blocks:
            # Who signed what is a fact, whatever the plan would have made of the members.
            keyring = self._keyring
            was = self._advance(block, has_writes=True)
            new = self._run(was.decoded, keyring, contracts, would, has_writes=True)
            would.apply(new.changes)
            contracts = new.contracts
            for index, transaction in enumerate(was.decoded.transactions):
                changed = _diff(
                    was.receipts[index], new.receipts[index], was.writes[index], new.writes[index]
                )
                if changed:
                    differences.append(_make_difference(block, index, transaction, changed))
        return differences

    def _advance(self, block: Block, *, has_writes: bool) -> _Ran:
        """Execute the next block of the chain, and stand on the state behind it."""
        header = block.header
        if compute_merkle_root(self._receipts) != header.receipts_root:
            raise _diverged(header.height - 1, "set of receipts")
        decoded = decode_body(block, self._genesis.network_id, lambda _: None)
        ran = self._run(decoded, self._keyring, self._contracts, self._state, has_writes=has_writes)
        step = self._memory.compute_step(header.height, header.time_ms, decoded.transactions, [])
        self._memory.apply_step(step)
        recorded = compute_changes(header.height, decoded.evidence)
        self._state.apply({**ran.changes, **step.changes, **recorded})
        self._keyring = self._keyring.follow(ran.changes, self._state)
        self._contracts = ran.contracts
        self._receipts = ran.announced
        self._tip = (header.height, header.time_ms)
        return ran

    def _run(
        self,
        decoded: DecodedBlock,
        keyring: KeyRing,
        contracts: InstalledContracts,
        state: Overlay,
        *,
        has_writes: bool,
    ) -> _Ran:
        """Execute a block on a state as a node does: in one run, for prices go by what a block wrote."""
        header = decoded.block.header
        scene = Scene(
            block_hash=decoded.block.block_hash,
            parent_hash=header.parent_hash,
            committed_hash=header.parent_hash,
            height=header.height,
            time_ms=header.time_ms,
            contracts=contracts.sources,
            state=state,
        )
        tasks = [
            Task.of_transaction(one, keyring.get_signing_members(one.signers)) for one in decoded.transactions
        ]
        played = play_blocking(
            self._runner.run(scene, lambda run: _play(run, decoded, contracts, tasks, has_writes=has_writes))
        )
        after = replace(scene, state=Overlay(state, played.changes))
        settled = play_blocking(settle_agreed(self._runner, after, played.agreed, contracts, self._programs))
        return _Ran(
            decoded=decoded,
            receipts=[decode_receipt(one) for one in played.receipts],
            announced=announce(settled, [one.tx_id for one in decoded.transactions], played.receipts),
            writes=played.writes,
            contracts=settled.contracts,
            changes={**played.changes, **settled.changes},
        )


def _play(
    run: BlockRun,
    decoded: DecodedBlock,
    contracts: InstalledContracts,
    tasks: Sequence[Task],
    *,
    has_writes: bool,
) -> Steps[_Played]:
    """Play a block's transactions, one by one where it matters what each of them writes."""
    if decoded.block.header.flags & BlockFlags.EPOCH_END:
        yield from begin_epoch(run)
    receipts: list[bytes] = []
    writes: list[Writes] = []
    if has_writes:
        before = yield from run.collect()
        for index, task in enumerate(tasks):
            (encoded,) = yield from run.execute([task])
            # A receipt's place is that among the tasks it ran with.
            receipts.append(encode_receipt(replace(decode_receipt(encoded), index=index)))
            now = yield from run.collect()
            writes.append({key: now[key] for key in now if before.get(key, b"") != now[key]})
            before = now
    else:
        receipts = yield from run.execute(tasks)
    if VALIDATORS_CONTRACT in contracts.compiled:
        yield from settle_pending(run, decoded.block.header, decoded.transactions)
    agreed = None
    if may_agree(contracts, decoded.transactions):
        agreed = yield from find_agreed(run, contracts)
    changes = yield from run.collect()
    return _Played(receipts=receipts, writes=writes, changes=changes, agreed=agreed)


def _make_difference(
    block: Block, index: int, transaction: Transaction, changed: Mapping[str, tuple[str, str]]
) -> Difference:
    return Difference(
        height=block.header.height,
        index=index,
        tx_id=transaction.tx_id,
        contract=transaction.call.contract,
        entry=transaction.call.entry,
        changed=changed,
    )


def _diff(old: Receipt, new: Receipt, was: Writes, would: Writes) -> dict[str, tuple[str, str]]:
    """Return every aspect in which two outcomes of a transaction differ."""
    pairs = {
        "outcome": (_describe_outcome(old), _describe_outcome(new)),
        "value": (str(old.value), str(new.value)),
        "gas": (str(old.gas_used), str(new.gas_used)),
        "events": (_describe_events(old.events), _describe_events(new.events)),
    }
    for key in sorted(was.keys() | would.keys()):
        pairs[f"writes {describe_key(key)}"] = (_describe_write(was, key), _describe_write(would, key))
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def describe_key(key: bytes) -> str:
    """Return a key of a contract's state as contract, variable and the rest in hexadecimal digits."""
    position, names = 4 if key[:2] == b"\x01\x01" else 2, []
    for _ in range(2):
        size = key[position] if position < len(key) else 0
        names.append(key[position + 1 : position + 1 + size].decode("ascii", "replace"))
        position += 1 + size
    return f"{'.'.join(names)} {key[position:].hex()}".strip()


def _describe_outcome(receipt: Receipt) -> str:
    if receipt.succeeded:
        return "succeeded"
    named = ", ".join(f"{name}={value!r}" for name, value in receipt.details)
    return f"{receipt.code}({named}) at {receipt.contract}:{receipt.line}"


def _describe_events(events: Iterable[Event]) -> str:
    return "; ".join(
        f"{one.contract}.{one.name}({', '.join(f'{name}={value!r}' for name, value in one.fields)})"
        for one in events
    )


def _describe_write(writes: Writes, key: bytes) -> str:
    if key not in writes:
        return "nothing"
    value = writes[key]
    return "deleted" if value is None else value.hex()


def _diverged(height: int, what: str) -> CorruptState:
    return CorruptState(
        Reason.DATA_CORRUPT,
        f"executing the blocks up to {height} again gives another {what} than the chain carries",
        value=height,
        remedy="run the software version the network runs",
    )
