"""`tanpo net`: a consortium on this machine, of processes or containers, to try, develop and test with."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias

import typer
from tanpo.cli.output import (
    Column,
    Format,
    OutputOption,
    print_error,
    print_fields,
    print_json,
    print_rows,
    print_text,
)

if TYPE_CHECKING:
    from tanpo.cli.networks import AnyNetwork

app = typer.Typer(
    help="A local network: one process, or one container, for each member.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

MEMBERS_MIN: Final = 4
"""The fewest members of whom one may fail without stopping the rest."""
MEMBERS_MAX: Final = 16

DirOption: TypeAlias = Annotated[Path, typer.Option("--dir", help="Where the network keeps its files.")]
NodeArgument: TypeAlias = Annotated[
    str, typer.Argument(metavar="NODE", help="The member whose node is meant.")
]
RejoinOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        metavar="MEMBER",
        help="Its validator lost its votes: let it vote again, in later terms. Repeat for each.",
    ),
]

_COLUMNS: Final = (
    Column(heading="Node", key="node"),
    Column(heading="Pid", key="pid"),
    Column(heading="Container", key="container"),
    Column(heading="Address", key="address"),
    Column(heading="Height", key="height", is_number=True),
    Column(heading="State root", key="state_root", digits_max=12),
    Column(heading="Role", key="role"),
    Column(heading="Epoch", key="epoch", is_number=True),
    Column(heading="Term", key="term", is_number=True),
    Column(heading="Leader", key="leader"),
    Column(heading="Pending", key="pending", is_number=True),
    Column(heading="Ready", key="ready"),
)


class Beside(StrEnum):
    """What a network of containers may have beside its members' nodes."""

    OBSERVER = "observer"
    MONITORING = "monitoring"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wish:
    """What the options say of the network to be started; None where they say nothing."""

    members: int | None
    validators: int | None
    base_port: int | None
    is_compose: bool
    image: str | None
    rejoining: tuple[str, ...]
    beside: tuple[Beside, ...]


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
    base_port: Annotated[
        str, typer.Option(help="The first of three ports a node (two with --compose), or auto.")
    ] = "auto",
    compose: Annotated[
        bool, typer.Option("--compose", help="Run each node in a container of its own, with Docker Compose.")
    ] = False,
    image: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="With --compose: the image of a new network's nodes [tanpo:VERSION]."
        ),
    ] = None,
    profile: Annotated[
        list[Beside] | None,
        typer.Option(metavar="observer|monitoring", help="With --compose: start this too. Repeat for each."),
    ] = None,
    rejoin: RejoinOption = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Start a network; make it first if the folder is new. Its data stays when it is stopped."""
    from tanpo.cli.network import hold_lock
    from tanpo.cli.networks import bring_up, undo_half
    from tanpo.cli.status import read_reports

    wish = _Wish(
        members=members,
        validators=validators,
        base_port=_parse_base_port(base_port),
        is_compose=compose,
        image=image,
        rejoining=tuple(rejoin or ()),
        beside=tuple(profile or ()),
    )
    with hold_lock(directory):
        undo_half(directory)
        network = _open_or_create(directory, wish)
        _check_kind(network, directory, wish)
        bring_up(network, wish.rejoining)
        _start_beside(network, wish.beside)
    rows = [report.to_row() for report in read_reports(network)]
    _print_nodes(output, rows)


@app.command()
def down(
    directory: DirOption = Path(".net"),
    delete: Annotated[
        bool, typer.Option("--delete", help="Remove the folder with all its data too.")
    ] = False,
    output: OutputOption = Format.TABLE,
) -> None:
    """Stop a network: each node finishes its block and closes its stores."""
    from tanpo.cli.layout import NetworkFolder
    from tanpo.cli.network import hold_lock
    from tanpo.cli.networks import end, find_run, open_network, undo_half

    stopped, killed = list[str](), list[str]()
    if delete and NetworkFolder(root=directory.absolute()).unfinished.exists():
        with hold_lock(directory):
            # It may have been finished while we waited for the lock.
            if undo_half(directory):
                shutil.rmtree(directory)
    else:
        network = open_network(directory)
        with hold_lock(directory):
            running = [name for name in network.members if find_run(network, name) is not None]
            killed = end(network, is_deleting=delete)
        stopped = [name for name in running if name not in killed]
    print_fields(output, {"stopped": stopped, "killed": killed, "deleted": not directory.exists()})


@app.command()
def status(directory: DirOption = Path(".net"), output: OutputOption = Format.TABLE) -> None:
    """Show every node: what runs it, its height, state root, term, leader and whether it is ready."""
    from tanpo.cli.networks import open_network
    from tanpo.cli.status import read_reports

    reports = read_reports(open_network(directory))
    rows = [report.to_row() for report in reports]
    _print_nodes(output, rows)
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
    from tanpo.cli.networks import open_network, read_log

    if output is Format.JSON and follow:
        raise typer.BadParameter("one JSON array has an end: leave out --follow", param_hint="-o json")
    found = read_log(open_network(directory), node, lines, is_following=follow)
    if output is Format.JSON:
        print_json(list(found))
        return
    for line in found:
        if not print_text(line):
            return


@app.command()
def kill(
    node: NodeArgument, directory: DirOption = Path(".net"), output: OutputOption = Format.TABLE
) -> None:
    """Kill a node with SIGKILL, as a crash would."""
    from tanpo.cli.network import hold_lock
    from tanpo.cli.networks import open_network

    network = open_network(directory)
    with hold_lock(directory):
        was_running = network.kill(node)
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
    """Start one node again and wait until it is ready, or say that too few others run for that."""
    from tanpo.cli.network import hold_lock
    from tanpo.cli.networks import find_run, open_network, restart
    from tanpo.cli.readiness import SILENT, find_obstacles

    network = open_network(directory)
    with hold_lock(directory):
        restart(network, node, may_rejoin=rejoin)
    run, place = find_run(network, node), network.get_node(node)
    words = find_obstacles(place.ops_address)
    # It was waited for until it was ready, or silent since it rejoined; with --rejoin only until it served.
    is_ready = words == "" if rejoin else not (words or "").startswith(SILENT)
    print_fields(
        output,
        {
            "node": place.member,
            "container" if isinstance(run, str) else "pid": run,
            "ready": is_ready,
            "problem": "" if is_ready else words or "",
        },
    )


@app.command("upgrade")
def upgrade_nodes(
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="The image that all nodes are to run from.")],
    directory: DirOption = Path(".net"),
    output: OutputOption = Format.TABLE,
) -> None:
    """Have one container after the other run from another image; the network goes on meanwhile."""
    from tanpo.cli.compose.network import ComposeNetwork, upgrade
    from tanpo.cli.network import hold_lock
    from tanpo.cli.networks import open_network

    network = open_network(directory)
    if not isinstance(network, ComposeNetwork):
        raise _wrong_kind(directory, "its nodes are processes", "a network of containers")
    done = []
    with hold_lock(directory):
        for member in upgrade(network, image):
            print_error(f"{member} runs from {image}")
            done.append(member)
    print_fields(output, {"image": image, "upgraded": done})


@app.command("rekey")
def rekey_node(
    node: NodeArgument, directory: DirOption = Path(".net"), output: OutputOption = Format.TABLE
) -> None:
    """Restart a node with a new validator key, which votes once `tanpo validator replace` has named it."""
    from tanpo.cli.network import LocalNetwork, hold_lock, rekey
    from tanpo.cli.networks import open_network

    network = open_network(directory)
    if not isinstance(network, LocalNetwork):
        raise _wrong_kind(directory, "its nodes are containers", "a network of processes")
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


def _open_or_create(directory: Path, wish: _Wish) -> AnyNetwork:
    from tanpo.cli.layout import NetworkFolder
    from tanpo.cli.network import LocalNetwork, check_stopped
    from tanpo.cli.networks import open_network
    from tanpo.ledger.errors import Reason, UsageError

    if not NetworkFolder(root=directory.absolute()).manifest.exists() and not wish.rejoining:
        return _create(directory, wish)
    network = open_network(directory)
    if isinstance(network, LocalNetwork):
        # To those that run, who rejoins comes back.
        check_stopped(network, wish.rejoining or network.members)
    if (
        wish.base_port is not None
        or wish.validators is not None
        or wish.image is not None
        or wish.members not in (None, len(network.members))
    ):
        raise UsageError(
            Reason.CONFIGURATION,
            "the network exists already; its members, ports and image are fixed",
            value=directory,
            limit=f"{len(network.members)} members",
            remedy="leave out --members, --validators, --base-port and --image, or choose another --dir; see "
            "`tanpo validator replace` for other validators and `tanpo net upgrade` for another image",
        )
    return network


def _create(directory: Path, wish: _Wish) -> AnyNetwork:
    from tanpo.cli.compose.network import ComposeNetwork
    from tanpo.cli.compose.rendering import get_default_image
    from tanpo.cli.network import LocalNetwork
    from tanpo.cli.provision import plan_network

    member_count = wish.members or MEMBERS_MIN
    if wish.validators is not None and wish.validators > member_count:
        raise typer.BadParameter(f"there are {member_count} members", param_hint="--validators")
    plan = plan_network(member_count, wish.validators)
    if not wish.is_compose:
        if wish.image is not None:
            raise typer.BadParameter("processes run from no image: add --compose", param_hint="--image")
        if wish.beside:
            raise typer.BadParameter(
                "only a network of containers has one: add --compose", param_hint="--profile"
            )
        return LocalNetwork.create(directory, plan, base_port=wish.base_port)
    image = wish.image or get_default_image()
    return ComposeNetwork.create(directory, plan, image=image, base_port=wish.base_port)


def _check_kind(network: AnyNetwork, directory: Path, wish: _Wish) -> None:
    """Refuse to start a network as what it is not. One of containers is started without `--compose` too."""
    from tanpo.cli.network import LocalNetwork

    if isinstance(network, LocalNetwork) and (wish.is_compose or wish.beside):
        delete = f"tanpo net down --delete --dir {shlex.quote(str(directory))}"
        otherwise = f", or remove this network with `{delete}`"
        raise _wrong_kind(directory, "its nodes are processes", "a network of containers", otherwise)


def _start_beside(network: AnyNetwork, profiles: Iterable[Beside]) -> None:
    from tanpo.cli.compose.network import ComposeNetwork

    if isinstance(network, ComposeNetwork):
        network.start_beside(one.value for one in profiles)


def _wrong_kind(directory: Path, what: str, limit: str, otherwise: str = "") -> Exception:
    from tanpo.ledger.errors import Reason, UsageError

    return UsageError(
        Reason.MISUSE,
        f"this cannot be done with the network of this folder: {what}",
        value=directory,
        limit=limit,
        remedy=f"name another folder with --dir{otherwise}",
    )


def _print_nodes(output: Format, rows: list[dict[str, Any]]) -> None:
    """Print nodes, which processes or containers run. Under a table stands why one is not ready, in whole.

    In a column of it a reason would leave no room for the others, and be read a word a line.
    """
    absent = "pid" if any("container" in row for row in rows) else "container"
    print_rows(output, rows, [column for column in _COLUMNS if column.key != absent])
    if output is Format.TABLE:
        for row in rows:
            if row["problem"]:
                print_text(f" {row['node']}: {row['problem']}")


def _parse_base_port(text: str) -> int | None:
    if text == "auto":
        return None
    if not (text.isascii() and text.isdigit()):
        raise typer.BadParameter("a port number or auto", param_hint="--base-port")
    return int(text)
