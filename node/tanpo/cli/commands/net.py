"""`tanpo net`: a consortium of local processes, for trying, developing and testing."""

from __future__ import annotations

import signal
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, TypeAlias

import typer
from tanpo.cli.output import Column, Format, OutputOption, print_fields, print_json, print_rows, print_text

if TYPE_CHECKING:
    from tanpo.cli.network import LocalNetwork

app = typer.Typer(
    help="A local network: one process for each member.", no_args_is_help=True, rich_markup_mode=None
)

MEMBERS_MIN: Final = 4
"""The fewest members of whom one may fail without stopping the rest."""
MEMBERS_MAX: Final = 16

DirOption: TypeAlias = Annotated[Path, typer.Option("--dir", help="Where the network keeps its files.")]
NodeArgument: TypeAlias = Annotated[
    str, typer.Argument(metavar="NODE", help="The member whose node is meant.")
]

_COLUMNS: Final = (
    Column(heading="Node", key="node"),
    Column(heading="Pid", key="pid"),
    Column(heading="Address", key="address"),
    Column(heading="Height", key="height", is_number=True),
    Column(heading="State root", key="state_root", digits_max=12),
    Column(heading="Role", key="role"),
    Column(heading="Epoch", key="epoch", is_number=True),
    Column(heading="Term", key="term", is_number=True),
    Column(heading="Leader", key="leader"),
    Column(heading="Pending", key="pending", is_number=True),
    Column(heading="Ready", key="ready"),
    Column(heading="", key="problem"),
)


@app.command()
def up(
    directory: DirOption = Path(".net"),
    members: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=MEMBERS_MIN, max=MEMBERS_MAX, help="How many members a new network gets [4]."
        ),
    ] = None,
    validators: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            max=MEMBERS_MAX,
            help="How many of their nodes vote at first [all]; the others only follow.",
        ),
    ] = None,
    base_port: Annotated[str, typer.Option(help="The first of three ports a node, or auto.")] = "auto",
    output: OutputOption = Format.TABLE,
) -> None:
    """Start a network; make it first if the folder is new. Its data stays when it is stopped."""
    from tanpo.cli.network import hold_lock
    from tanpo.cli.status import read_reports

    with hold_lock(directory):
        network = _open_or_create(directory, members, validators, _parse_base_port(base_port))
        network.start()
    rows = [report.to_row() for report in read_reports(network)]
    print_rows(output, rows, _COLUMNS)


@app.command()
def down(
    directory: DirOption = Path(".net"),
    delete: Annotated[
        bool, typer.Option("--delete", help="Remove the folder with all its data too.")
    ] = False,
    output: OutputOption = Format.TABLE,
) -> None:
    """Stop a network: each node finishes its block and closes its stores."""
    from tanpo.cli.network import LocalNetwork, hold_lock

    network = LocalNetwork.open(directory)
    with hold_lock(directory):
        running = [name for name in network.members if network.find_process(name) is not None]
        killed = network.stop()
        if delete:
            network.delete()
    stopped = [name for name in running if name not in killed]
    print_fields(output, {"stopped": stopped, "killed": killed, "deleted": delete})


@app.command()
def status(directory: DirOption = Path(".net"), output: OutputOption = Format.TABLE) -> None:
    """Show every node: its process, height, state root, term, leader and whether it is ready."""
    from tanpo.cli.network import LocalNetwork
    from tanpo.cli.status import read_reports

    reports = read_reports(LocalNetwork.open(directory))
    print_rows(output, [report.to_row() for report in reports], _COLUMNS)
    if not all(report.ready for report in reports):
        raise typer.Exit(1)


@app.command()
def logs(
    node: NodeArgument,
    directory: DirOption = Path(".net"),
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as the node writes.")] = False,
    lines: Annotated[
        int, typer.Option("--lines", "-n", metavar="N", min=1, help="How many of the last lines.")
    ] = 50,
    output: OutputOption = Format.TABLE,
) -> None:
    """Print a node's log."""
    from tanpo.cli.logs import follow_lines, tail_lines
    from tanpo.cli.network import LocalNetwork

    network = LocalNetwork.open(directory)
    path = network.folder.get_member(network.get_node(node).member).log
    last, offset = tail_lines(path, lines)
    if output is Format.JSON:
        if follow:
            raise typer.BadParameter("one JSON array has an end: leave out --follow", param_hint="-o json")
        print_json(last)
        return
    for line in chain(last, follow_lines(path, offset) if follow else ()):
        if not print_text(line):
            return


@app.command()
def kill(
    node: NodeArgument, directory: DirOption = Path(".net"), output: OutputOption = Format.TABLE
) -> None:
    """Kill a node with SIGKILL, as a crash would."""
    from tanpo.cli.network import LocalNetwork, hold_lock

    network = LocalNetwork.open(directory)
    with hold_lock(directory):
        was_running = network.kill(node, signal.SIGKILL)
    print_fields(output, {"node": network.get_node(node).member, "killed": was_running})


@app.command()
def start(
    node: NodeArgument,
    directory: DirOption = Path(".net"),
    rejoin: Annotated[
        bool,
        typer.Option("--rejoin", help="It lost its votes: let it vote again, and do not wait until it does."),
    ] = False,
    output: OutputOption = Format.TABLE,
) -> None:
    """Start one node again and wait until it is ready."""
    from tanpo.cli.network import LocalNetwork, hold_lock, launch

    network = LocalNetwork.open(directory)
    with hold_lock(directory):
        if rejoin:
            launch(network, node, may_rejoin=True)
        else:
            network.start([node])
    record = network.find_process(node)
    print_fields(
        output,
        {
            "node": network.get_node(node).member,
            "pid": record.pid if record else None,
            "ready": not rejoin,
        },
    )


@app.command("rekey")
def rekey_node(
    node: NodeArgument, directory: DirOption = Path(".net"), output: OutputOption = Format.TABLE
) -> None:
    """Restart a node with a new validator key, which votes once `tanpo validator replace` has named it."""
    from tanpo.cli.network import LocalNetwork, hold_lock, rekey

    network = LocalNetwork.open(directory)
    with hold_lock(directory):
        key = rekey(network, node)
    place = network.get_node(node)
    print_fields(
        output,
        {
            "node": place.member,
            "key_id": key.key_id.hex(),
            "next": f"tanpo validator replace --dir {directory} --rekey {place.member}/{place.node}",
        },
    )


def _open_or_create(
    directory: Path, members: int | None, validators: int | None, base_port: int | None
) -> LocalNetwork:
    from tanpo.cli.layout import NetworkFolder
    from tanpo.cli.network import LocalNetwork, check_stopped
    from tanpo.cli.provision import plan_network
    from tanpo.ledger.errors import Reason, UsageError

    if not NetworkFolder(root=directory.absolute()).manifest.exists():
        member_count = members or MEMBERS_MIN
        if validators is not None and validators > member_count:
            raise typer.BadParameter(f"there are {member_count} members", param_hint="--validators")
        return LocalNetwork.create(directory, plan_network(member_count, validators), base_port=base_port)
    network = LocalNetwork.open(directory)
    check_stopped(network)
    if base_port is not None or validators is not None or members not in (None, len(network.members)):
        raise UsageError(
            Reason.CONFIGURATION,
            "the network exists already; its members and ports are fixed",
            value=directory,
            limit=f"{len(network.members)} members",
            remedy="leave out --members, --validators and --base-port, or choose another --dir; see `tanpo "
            "validator replace` for other validators",
        )
    return network


def _parse_base_port(text: str) -> int | None:
    if text == "auto":
        return None
    if not (text.isascii() and text.isdigit()):
        raise typer.BadParameter("a port number or auto", param_hint="--base-port")
    return int(text)
