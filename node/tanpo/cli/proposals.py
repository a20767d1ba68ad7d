"""Proposals of contracts as operators see them: made, read back, checked, voted on."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, cast

from tanpo.cli.arguments import Interfaces
from tanpo.client import Client, Committed
from tanpo.ledger.errors import PeerFault, Reason, UsageError
from tanpo.ledger.plans import (
    CONTRACTS_CONTRACT,
    PARTS_A_CALL,
    ContractPlan,
    decode_arguments,
    join_source,
    plan_from_value,
    plan_to_value,
    split_source,
)
from tanpo.ledger.transaction import Call, Signer
from tanpo.ledger.values import Fields, Value, sort_fields, value_to_json
from tanpo.node.installing import InstallationRefused
from tanpo.node.rehearsing import Rehearsal, Replay
from tanpo.vm import (
    GAS_TABLE_VERSION,
    LANGUAGE_VERSION,
    SOURCE_BYTES_MAX,
    CompiledContract,
    ContractRefused,
    Fault,
    Interface,
    compile_contract,
    compile_in_order,
    describe_changes,
)

DAY_MS: Final = 24 * 60 * 60 * 1_000
SOURCE_FILE_BYTES_MAX: Final = 1_000_000
"""What is read of a file before its size is refused: more than any source, and little."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A proposal by the node's word. `source` is what is delivered of its source, nothing once it ended."""

    number: int
    plan: ContractPlan
    proposer: str
    approvals: tuple[str, ...]
    deadline_ms: int
    status: str
    code: str
    reasons: tuple[str, ...]
    height: int


def load_source_file(path: Path) -> bytes:
    """Return the source in a file.

    Raises:
        UsageError: it cannot be read, is no regular file, or is far larger than any source.
    """
    try:
        # Opening a pipe that nobody writes to would wait for ever.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                raise _unreadable(path, "it is no regular file")
            source = stream.read(SOURCE_FILE_BYTES_MAX + 1)
    except OSError as error:
        raise _unreadable(path, error.strerror or "the operating system refused") from None
    if len(source) > SOURCE_FILE_BYTES_MAX:
        raise _unreadable(path, f"it has more than {SOURCE_FILE_BYTES_MAX} bytes")
    return source


def load_installed(client: Client) -> dict[str, CompiledContract]:
    """Return the contracts in force by the node's word, compiled here."""
    sources = {
        one.name: client.network.contract_source(one.name).source for one in client.network.contracts()
    }
    compiled, faults = compile_in_order(dict(sorted(sources.items())))
    if faults:
        raise UsageError(
            Reason.CONTRACT_REFUSED,
            "the node's contracts do not compile here",
            value=", ".join(sorted(faults)),
            remedy="run the software version the network runs",
        )
    return compiled


def find_faults(name: str, source: bytes, installed: Mapping[str, CompiledContract]) -> tuple[Fault, ...]:
    """Return everything that is wrong with a source, in order of place."""
    try:
        _compile(name, source, installed)
    except ContractRefused as refused:
        return refused.faults
    return ()


def parse_init_arguments(
    name: str, source: bytes, installed: Mapping[str, CompiledContract], given: Sequence[str]
) -> Fields:
    """Return the arguments of `@init` from `name=value` texts, read as the source declares them."""
    interface = _compile(name, source, installed).interface
    described: dict[str, Any] = {known: one.interface.describe() for known, one in installed.items()}
    own = dict(interface.describe())
    own["entries"] = [{"name": "@init", "parameters": own["init"]}]
    described[name] = own
    return sort_fields(Interfaces(described).parse_arguments(name, "entries", "@init", given))


def make_plan(client: Client, name: str, source: bytes, arguments: Fields) -> ContractPlan:
    """Return the plan to install a source, or to put it in the place of the version in force."""
    current = next((one for one in client.network.contracts() if one.name == name), None)
    return ContractPlan.create(
        name,
        source,
        language_version=LANGUAGE_VERSION,
        gas_table_version=GAS_TABLE_VERSION,
        version=current.version + 1 if current else 1,
        replaces=current.source_hash if current else b"",
        arguments=arguments,
    )


def propose(client: Client, plan: ContractPlan, source: bytes, *, days: float) -> int:
    """Make a proposal, deliver its source, and return its number."""
    time_ms = max(client.network.status().time_ms, time.time_ns() // 1_000_000)
    arguments: dict[str, Value] = {"plan": plan_to_value(plan), "deadline": time_ms + int(days * DAY_MS)}
    committed = client.submit(Call.create(CONTRACTS_CONTRACT, "propose", arguments)).raise_for_failure()
    number = cast("int", committed.value)
    deliver(client, number, source)
    return number


def deliver(client: Client, number: int, source: bytes) -> None:
    """Deliver the source of a proposal in parts; those that are held already do no harm."""
    parts = split_source(source)
    for first in range(0, len(parts), PARTS_A_CALL):
        pieces = tuple(parts[first : first + PARTS_A_CALL])
        arguments: dict[str, Value] = {"number": number, "first": first, "pieces": pieces}
        client.submit(Call.create(CONTRACTS_CONTRACT, "deliver", arguments)).raise_for_failure()


def read_proposal(client: Client, number: int) -> Proposal:
    """Return a proposal by its number."""
    return _to_proposal(client.query(CONTRACTS_CONTRACT, "proposal", number=number).value)


def read_latest(client: Client, count: int) -> list[Proposal]:
    """Return the latest proposals, newest first."""
    found: list[Proposal] = []
    while len(found) < count:
        before = found[-1].number if found else 0
        if before == 1:
            break
        answer = client.query(CONTRACTS_CONTRACT, "latest", before=before, limit=count - len(found)).value
        page = [_to_proposal(one) for one in cast("Sequence[Value]", answer)]
        if not page:
            break
        found += page
    return found


def read_source(client: Client, proposal: Proposal) -> bytes:
    """Return the source of a proposal that is open, having checked that it is the one that the plan names.

    Raises:
        UsageError: it is not delivered yet, or is another one, or the proposal has ended.
    """
    source = join_source(client.query(CONTRACTS_CONTRACT, "source", number=proposal.number).value)
    check_source(proposal, source)
    return source


def check_source(proposal: Proposal, source: bytes) -> None:
    """Raise `UsageError` unless a source is the one that the plan of a proposal names."""
    if sha256(source).digest() != proposal.plan.source_hash:
        raise UsageError(
            Reason.CONTRACT_REFUSED,
            f"this is not the source that the plan of proposal {proposal.number} ({proposal.status}) names",
            value=f"{len(source)} bytes, {sha256(source).hexdigest()}",
            limit=f"{proposal.plan.source_bytes} bytes, {proposal.plan.source_hash.hex()}",
            remedy="deliver the source of the plan, or withdraw the proposal; do not approve it",
        )


def make_approval(proposal: Proposal) -> Call:
    """Return the call by which members approve exactly this plan."""
    arguments: dict[str, Value] = {"number": proposal.number, "plan": plan_to_value(proposal.plan)}
    return Call.create(CONTRACTS_CONTRACT, "approve", arguments)


def withdraw(client: Client, number: int, signers: Iterable[Signer]) -> Committed:
    """End a proposal."""
    call = Call.create(CONTRACTS_CONTRACT, "withdraw", {"number": number})
    return client.submit(call, signers=signers).raise_for_failure()


def describe_plan(plan: ContractPlan) -> dict[str, Any]:
    """Return a plan as those see it who are to sign it."""
    return {
        "contract": plan.contract,
        "version": plan.version,
        "source_hash": plan.source_hash.hex(),
        "source_bytes": plan.source_bytes,
        "language_version": plan.language_version,
        "gas_table_version": plan.gas_table_version,
        "replaces": plan.replaces.hex(),
        "arguments": _describe_arguments(plan.arguments),
    }


def describe_proposal(proposal: Proposal, *, tip_ms: int, member_count: int) -> dict[str, Any]:
    """Return a proposal as a row. One that is past its deadline is called expired."""
    is_expired = proposal.status == "open" and proposal.deadline_ms < tip_ms
    return {
        "number": proposal.number,
        "status": "expired" if is_expired else proposal.status,
        **describe_plan(proposal.plan),
        "proposer": proposal.proposer,
        "approvals": list(proposal.approvals),
        "approvals_needed": 2 * member_count // 3 + 1,
        "deadline_ms": proposal.deadline_ms,
        "height": proposal.height,
        "code": proposal.code,
        "reasons": list(proposal.reasons),
    }


def list_changes(
    plan: ContractPlan, source: bytes, installed: Mapping[str, CompiledContract]
) -> tuple[str, ...]:
    """Return how the interface differs from the one in force, a line for each difference."""
    old = installed.get(plan.contract)
    before = old.interface if old else _empty_interface(plan.contract)
    return describe_changes(before, _compile(plan.contract, source, installed).interface)


def rehearse(client: Client, name: str, source: bytes, given: Sequence[str], count: int) -> Rehearsal:
    """Execute the last blocks again with and without a source in force, all blocks below them first.

    Raises:
        InstallationRefused: it may not be put in force, with every reason.
        UsageError: the chain has fewer blocks.
    """
    height = client.network.status().height
    if count > height:
        raise UsageError(
            Reason.HEIGHT_UNKNOWN,
            "the chain has fewer blocks",
            value=count,
            limit=height,
            remedy=f"ask for {height} blocks or fewer",
        )
    replay = Replay(client.config.genesis)
    for number in range(1, height - count + 1):
        replay.execute(client.chain.block(number).block)
    current, compiled = replay.contracts.versions.get(name), replay.contracts.compiled
    plan = ContractPlan.create(
        name,
        source,
        language_version=LANGUAGE_VERSION,
        gas_table_version=GAS_TABLE_VERSION,
        version=current.version + 1 if current else 1,
        replaces=current.source_hash if current else b"",
        arguments=parse_init_arguments(name, source, compiled, given) if current is None else (),
    )
    blocks = [client.chain.block(number).block for number in range(height - count + 1, height + 1)]
    return replay.rehearse(plan, source, blocks)


def list_refusal(refused: InstallationRefused) -> Iterator[str]:
    """Yield the reasons of a refusal, each a line."""
    for reason in refused.reasons:
        yield f"{refused.code}: {reason}"


def _unreadable(path: Path, why: str) -> UsageError:
    return UsageError(
        Reason.MISUSE,
        f"{path} cannot be read: {why}",
        value=path,
        limit=f"a file with the source of a contract, at most {SOURCE_BYTES_MAX} bytes",
        remedy="name the file that has the source",
    )


def _describe_arguments(encoded: bytes) -> Any:
    try:
        return value_to_json(dict(decode_arguments(encoded)))
    except PeerFault:
        return f"no values: {encoded.hex()}"


def _compile(name: str, source: bytes, installed: Mapping[str, CompiledContract]) -> CompiledContract:
    interfaces = {known: one.interface for known, one in installed.items() if known != name}
    return compile_contract(source.decode("latin-1"), name=name, interfaces=interfaces)


def _empty_interface(name: str) -> Interface:
    return Interface(contract=name, entries=(), views=(), records=(), events=(), init=())


def _to_proposal(value: Value) -> Proposal:
    fields = cast("Mapping[str, Any]", value)
    return Proposal(
        number=fields["number"],
        plan=plan_from_value(fields["plan"]),
        proposer=fields["proposer"],
        approvals=tuple(fields["approvals"]),
        deadline_ms=fields["deadline"],
        status=fields["status"],
        code=fields["code"],
        reasons=tuple(fields["reasons"]),
        height=fields["height"],
    )
