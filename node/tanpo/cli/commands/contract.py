"""`tanpo contract`: what the network runs, and how its members change that."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer
from tanpo.cli.options import (
    AnyProfileOption,
    ArgumentsOption,
    DirOption,
    DraftOption,
    KeyOption,
    SignerOption,
)
from tanpo.cli.output import Column, Format, OutputOption, print_fields, print_rows

if TYPE_CHECKING:
    from tanpo.client import Client, Committed
    from tanpo.client.results import ContractSource, ContractView
    from tanpo.node.rehearsing import Rehearsal
    from tanpo.vm import Fault

app = typer.Typer(
    help="The contracts of a network, and proposals to change them.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

NumberArgument: TypeAlias = Annotated[int, typer.Argument(min=1, help="The proposal's number.")]
NameOption: TypeAlias = Annotated[
    str | None, typer.Option("--name", help="The contract's name; the file's if none.")
]
FileArgument: TypeAlias = Annotated[Path, typer.Argument(metavar="FILE", help="The contract's source.")]

_CONTRACT_COLUMNS = (
    Column(heading="Contract", key="name"),
    Column(heading="Version", key="version", is_number=True),
    Column(heading="Since height", key="height", is_number=True),
    Column(heading="Language", key="language_version", is_number=True),
    Column(heading="Source hash", key="source_hash", digits_max=16),
    Column(heading="Replaces", key="replaces", digits_max=16),
)
_PROPOSAL_COLUMNS = (
    Column(heading="Number", key="number"),
    Column(heading="Status", key="status"),
    Column(heading="Contract", key="contract"),
    Column(heading="Version", key="version", is_number=True),
    Column(heading="Proposer", key="proposer"),
    Column(heading="Approvals", key="approvals"),
    Column(heading="Needed", key="approvals_needed", is_number=True),
    Column(heading="Code", key="code"),
)
_DIFFERENCE_COLUMNS = (
    Column(heading="Height", key="height", is_number=True),
    Column(heading="Index", key="index", is_number=True),
    Column(heading="Call", key="call"),
    Column(heading="Aspect", key="aspect"),
    Column(heading="As it was", key="was"),
    Column(heading="As it would be", key="would_be"),
)


@app.command("list")
def list_all(
    profile: AnyProfileOption = None,
    directory: DirOption = None,
    proposals: Annotated[
        bool, typer.Option("--proposals", help="List proposals instead, newest first.")
    ] = False,
    limit: Annotated[
        int, typer.Option(metavar="N", min=1, max=1000, help="How many proposals at most.")
    ] = 20,
    output: OutputOption = Format.TABLE,
) -> None:
    """List the contracts in force, or the latest proposals to change them."""
    from tanpo.cli.connecting import connect
    from tanpo.cli.proposals import describe_proposal, read_latest

    with connect(profile, directory) as client:
        if proposals:
            tip_ms, members = client.network.status().time_ms, len(client.network.members())
            found = read_latest(client, limit)
            rows = [describe_proposal(one, tip_ms=tip_ms, member_count=members) for one in found]
        else:
            rows = [_describe_version(one) for one in client.network.contracts()]
    print_rows(output, rows, _PROPOSAL_COLUMNS if proposals else _CONTRACT_COLUMNS)


@app.command()
def show(
    what: Annotated[str, typer.Argument(metavar="NAME|NUMBER", help="A contract, or a proposal.")],
    profile: AnyProfileOption = None,
    directory: DirOption = None,
    version: Annotated[
        int, typer.Option(metavar="N", min=0, help="Which version of the contract; 0 for the latest.")
    ] = 0,
    source: Annotated[bool, typer.Option("--source", help="Print the source alone.")] = False,
    output: OutputOption = Format.TABLE,
) -> None:
    """Show a contract with its versions, or a proposal: what it changes, who approved it, why it was refused.

    The source of a proposal is checked against the hash that members sign.
    """
    from tanpo.cli.connecting import connect

    with connect(profile, directory) as client:
        if what.isdecimal():
            _show_proposal(client, int(what), output, has_source=source)
        else:
            _show_contract(client, what, version, output, has_source=source)


@app.command()
def propose(
    file: FileArgument,
    profile: AnyProfileOption = None,
    directory: DirOption = None,
    name: NameOption = None,
    arg: ArgumentsOption = None,
    days: Annotated[
        float, typer.Option(metavar="DAYS", min=0.001, max=30, help="How long it may be approved.")
    ] = 7.0,
    output: OutputOption = Format.TABLE,
) -> None:
    """Propose to install a source, or to put it in the place of the contract of its name.

    It is checked here first, against the contracts in force. Who proposes approves.
    """
    from tanpo.cli import proposals
    from tanpo.cli.connecting import connect

    data, contract = proposals.load_source_file(file), name or file.stem
    with connect(profile, directory) as client:
        installed = proposals.load_installed(client)
        _report(file, proposals.find_faults(contract, data, installed))
        given = (
            proposals.parse_init_arguments(contract, data, installed, arg or [])
            if (contract not in installed or arg)
            else ()
        )
        plan = proposals.make_plan(client, contract, data, given)
        number = proposals.propose(client, plan, data, days=days)
        found = proposals.read_proposal(client, number)
        tip_ms, members = client.network.status().time_ms, len(client.network.members())
    described = proposals.describe_proposal(found, tip_ms=tip_ms, member_count=members)
    print_fields(output, described | {"changes": list(proposals.list_changes(plan, data, installed))})


@app.command()
def deliver(
    number: NumberArgument,
    file: FileArgument,
    profile: AnyProfileOption = None,
    directory: DirOption = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Deliver the source of a proposal again, where `propose` was interrupted."""
    from tanpo.cli import proposals
    from tanpo.cli.connecting import connect

    with connect(profile, directory) as client:
        found = proposals.read_proposal(client, number)
        data = proposals.load_source_file(file)
        proposals.check_source(found, data)
        proposals.deliver(client, number, data)
    print_fields(output, {"number": number, "delivered": len(data)})


@app.command()
def approve(
    number: NumberArgument,
    profile: AnyProfileOption = None,
    directory: DirOption = None,
    key: KeyOption = None,
    draft: DraftOption = None,
    signer: SignerOption = None,
    valid_for: Annotated[
        float, typer.Option(metavar="SECONDS", min=1, help="Seconds in which it may be committed.")
    ] = 1800.0,
    output: OutputOption = Format.TABLE,
) -> None:
    """Approve a proposal, having checked that its source is the one its plan names.

    The approval that completes it puts the contract in force, or the nodes refuse it and say why. With
    --draft, nothing is sent: members sign the draft where their keys are (`tanpo tx sign`, `seal`, `send`).
    """
    from tanpo.cli import proposals
    from tanpo.cli.connecting import connect, find_signers, load_signers, read_owners
    from tanpo.client import save_draft

    with connect(profile, directory) as client:
        found = proposals.read_proposal(client, number)
        proposals.read_source(client, found)
        call = proposals.make_approval(found)
        signers = load_signers(client, directory, key or [])
        signing = find_signers(read_owners(client), signer) if signer else [one.key_id for one in signers]
        if draft is not None:
            save_draft(draft, client.build(call, signers=signing, valid_for_s=valid_for))
            print_fields(output, {"draft": str(draft)} | proposals.describe_plan(found.plan))
            return
        # A key that signed the proposal, or an approval before this one, signs again and counts once.
        committed = client.submit(call, signers=signers, valid_for_s=valid_for).raise_for_failure()
        then = proposals.read_proposal(client, number)
        tip_ms, members = client.network.status().time_ms, len(client.network.members())
    print_fields(output, proposals.describe_proposal(then, tip_ms=tip_ms, member_count=members))
    _fail_if_refused(committed)


@app.command()
def withdraw(
    number: NumberArgument,
    profile: AnyProfileOption = None,
    directory: DirOption = None,
    key: KeyOption = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """End a proposal that is open: its proposer at any time, any member after the deadline."""
    from tanpo.cli import proposals
    from tanpo.cli.connecting import connect, load_signers

    with connect(profile, directory) as client:
        committed = proposals.withdraw(client, number, load_signers(client, directory, key or []))
    print_fields(output, {"number": number, "status": "withdrawn", "height": committed.height})


@app.command("dry-run")
def dry_run(
    file: FileArgument,
    profile: AnyProfileOption = None,
    directory: DirOption = None,
    name: NameOption = None,
    arg: ArgumentsOption = None,
    blocks: Annotated[int, typer.Option(metavar="N", min=1, help="How many of the latest blocks.")] = 100,
    output: OutputOption = Format.TABLE,
) -> None:
    """Execute the latest blocks again under the contracts in force and under a new source, and compare.

    Nodes keep the latest state alone: all blocks are fetched, verified, and executed here from genesis on.
    """
    from tanpo.cli import proposals
    from tanpo.cli.connecting import connect
    from tanpo.node.installing import InstallationRefused
    from tanpo.vm import ContractRefused

    data, contract = proposals.load_source_file(file), name or file.stem
    with connect(profile, directory) as client:
        try:
            found = proposals.rehearse(client, contract, data, arg or [], blocks)
        except ContractRefused as refused:
            _report(file, refused.faults)
            raise
        except InstallationRefused as refused:
            if refused.code == "CONTRACT_REFUSED":
                _report(file, proposals.find_faults(contract, data, proposals.load_installed(client)))
            _say(proposals.list_refusal(refused))
            raise typer.Exit(1) from None
    _print_rehearsal(found, output)


def _describe_version(one: ContractView | ContractSource) -> dict[str, object]:
    return {
        "name": one.name,
        "version": one.version,
        "height": one.height,
        "language_version": one.language_version,
        "gas_table_version": one.gas_table_version,
        "source_hash": one.source_hash.hex(),
        "replaces": one.replaces.hex(),
    }


def _print_rehearsal(found: Rehearsal, output: Format) -> None:
    rows = [
        {
            "height": one.height,
            "index": one.index,
            "tx_id": one.tx_id.hex(),
            "call": f"{one.contract}.{one.entry}",
            "aspect": aspect,
            "was": was,
            "would_be": would_be,
        }
        for one in found.differences
        for aspect, (was, would_be) in one.changed.items()
    ]
    if output is Format.TABLE and rows:
        print_rows(output, rows, _DIFFERENCE_COLUMNS)
    summary = {
        "first_height": found.first_height,
        "last_height": found.last_height,
        "transactions": found.transaction_count,
        "transactions_that_differ": len(found.differences),
        "setup_gas": found.setup_gas,
        "setup_events": [f"{one.contract}.{one.name}" for one in found.setup_events],
    }
    print_fields(output, summary | ({"differences": rows} if output is Format.JSON else {}))


def _show_proposal(client: Client, number: int, output: Format, *, has_source: bool) -> None:
    from tanpo.cli import proposals

    found = proposals.read_proposal(client, number)
    tip_ms, members = client.network.status().time_ms, len(client.network.members())
    described: dict[str, Any] = proposals.describe_proposal(found, tip_ms=tip_ms, member_count=members)
    if found.status == "open" or has_source:
        data = proposals.read_source(client, found)
        if has_source:
            _print_source(data.decode("latin-1"))
            return
        installed = proposals.load_installed(client)
        faults = proposals.find_faults(found.plan.contract, data, installed)
        described["faults"] = [str(fault) for fault in faults]
        described["changes"] = [] if faults else list(proposals.list_changes(found.plan, data, installed))
    print_fields(output, described)


def _show_contract(client: Client, name: str, version: int, output: Format, *, has_source: bool) -> None:
    chosen = client.network.contract_source(name, version)
    if has_source:
        _print_source(chosen.source)
        return
    versions = [client.network.contract_source(name, number) for number in range(1, chosen.version + 1)]
    rows = [_describe_version(one) for one in versions]
    print_rows(output, rows, _CONTRACT_COLUMNS)


def _print_source(source: str) -> None:
    """Print a source to the byte, so that its hash is that of the output."""
    sys.stdout.write(source)


def _report(file: Path, faults: tuple[Fault, ...]) -> None:
    """Print every fault of a source as compilers do, and end with exit code 1, if there is any."""
    if faults:
        _say(f"{file}:{fault}" for fault in faults)
        raise typer.Exit(1)


def _say(lines: Iterable[str]) -> None:
    for line in lines:
        sys.stderr.write(f"tanpo: {line}\n")


def _fail_if_refused(committed: Committed) -> None:
    """End with exit code 1 if the nodes refused what this approval completed."""
    for event in committed.events:
        if (event.contract, event.name) == ("contracts", "Refused"):
            fields: dict[str, Any] = dict(event.fields)
            _say(f"{fields['code']}: {reason}" for reason in fields["reasons"])
            raise typer.Exit(1)
