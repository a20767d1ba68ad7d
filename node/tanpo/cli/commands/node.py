"""`tanpo node`: prepare a node, run it in the foreground, ask one how it is, and care for its files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer
from tanpo.cli.commands import backup, config
from tanpo.cli.options import ConfigArgument, ProfileOption
from tanpo.cli.output import Format, OutputOption, print_fields, print_text

app = typer.Typer(help="One node.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(backup.app, name="backup")
app.add_typer(config.app, name="config")


@app.command()
def init(config: ConfigArgument, output: OutputOption = Format.TABLE) -> None:
    """Prepare the data directory of a new node: once, before its first start."""
    from tanpo.node.initialising import init_node

    path = init_node(config)
    print_fields(output, {"config": str(config), "consensus": str(path), "created": True})


@app.command()
def run(
    config: ConfigArgument,
    rejoin: Annotated[
        bool,
        typer.Option(
            "--rejoin",
            help="Let a validator that lost what it promised vote again, after asking the others. "
            "One validator at a time.",
        ),
    ] = False,
    output: OutputOption = Format.TABLE,
) -> None:
    """Run a node until SIGTERM or Ctrl-C; its log goes to stderr, its exit code says why it ended."""
    # Before gRPC is imported: its own lines are not JSON, and what matters in them is in the node's log.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from tanpo.node.app import run_node

    code = run_node(config, may_rejoin=rejoin)
    if output is Format.JSON:
        print_fields(output, {"config": str(config), "exit_code": int(code)})
    raise typer.Exit(code)


@app.command()
def rebuild(
    config: ConfigArgument,
    from_snapshot: Annotated[
        str | None,
        typer.Option(
            metavar="HEIGHT",
            help="Begin with the state of a snapshot that the node kept, after verifying it: its height, or "
            "`oldest`. It is sooner done, and the node answers for later blocks alone.",
        ),
    ] = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Make `state/` of a stopped node anew from its blocks; interrupted, it goes on when it is run again."""
    from tanpo.cli.upkeep import describe_replayed, load_node, watched
    from tanpo.node.rebuilding import rebuild_state

    loaded, genesis = load_node(config)
    with watched("rebuilding") as watch:
        done = rebuild_state(
            loaded.data_dir, genesis, loaded.execution, watch, from_snapshot=from_snapshot or ""
        )
    print_fields(output, {"config": str(config), **describe_replayed(done)})


@app.command()
def audit(
    config: ConfigArgument,
    chain_only: Annotated[
        bool,
        typer.Option(
            "--chain-only", help="Leave `state/` out: the node may run, or the folder hold blocks alone."
        ),
    ] = False,
    scratch: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Execute in DIR/audit; by default in that of the data directory."),
    ] = None,
    from_snapshot: Annotated[
        str | None,
        typer.Option(
            metavar="HEIGHT",
            help="Begin with the state of a snapshot that the node kept, after verifying it, and leave out "
            "what comes before: its height, or `oldest`. A node that joined by one does so anyway.",
        ),
    ] = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Execute the chain anew and compare all that is stored; fail at the first difference."""
    from tanpo.cli.upkeep import describe_audit, load_node, watched
    from tanpo.node.auditing import audit_node

    loaded, genesis = load_node(config)
    with watched("auditing") as watch:
        found = audit_node(
            loaded.data_dir,
            genesis,
            loaded.execution,
            watch,
            scratch=scratch,
            is_chain_only=chain_only,
            from_snapshot=from_snapshot or "",
        )
    print_fields(output, {"config": str(config), **describe_audit(found)})
    if found.difference is not None:
        raise typer.Exit(1)


@app.command()
def join(config: ConfigArgument, output: OutputOption = Format.TABLE) -> None:
    """Have a stopped node join by a snapshot of its peers, instead of executing the whole chain."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from tanpo.node.join_app import join_node

    joined = join_node(config)
    print_fields(
        output,
        {
            "height": joined.height,
            "chunks": joined.chunks,
            "bytes": joined.size,
            "seconds": joined.seconds,
            "peers": list(joined.peers),
            "banned": list(joined.banned),
        },
    )


@app.command()
def status(profile: ProfileOption, output: OutputOption = Format.TABLE) -> None:
    """Show what a node says of itself; fail unless it is ready."""
    from tanpo.cli.status import describe_status
    from tanpo.client import Client, load_profile

    with Client(load_profile(profile)) as client:
        answer = client.network.status()
    print_fields(output, describe_status(answer))
    if not answer.is_ready:
        raise typer.Exit(1)


@app.command()
def doctor(config: ConfigArgument, output: OutputOption = Format.TABLE) -> None:
    """Look a node over: files, certificates, clock, disk, peers, backups, and the node itself if it runs.

    Fails if anything is found that keeps it from its work.
    """
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from tanpo.cli.checks import print_symptoms
    from tanpo.node.doctor import Health, examine_here

    symptoms = examine_here(config)
    print_symptoms(output, symptoms)
    if any(one.health is Health.FAIL for one in symptoms):
        raise typer.Exit(1)


@app.command("why-stalled")
def why_stalled(profile: ProfileOption, output: OutputOption = Format.TABLE) -> None:
    """Say why nothing moves, as a node sees it; fail if there is a reason. It needs an operator's profile."""
    from tanpo.client import Client, load_profile

    with Client(load_profile(profile)) as client:
        reasons = client.admin.why_stalled()
    if output is Format.JSON:
        print_fields(output, {"stalled": bool(reasons), "reasons": list(reasons)})
    else:
        print_text("\n".join(reasons) or "nothing is stalled")
    if reasons:
        raise typer.Exit(1)


@app.command("log-level")
def log_level(
    level: Annotated[str, typer.Argument(metavar="LEVEL", help="debug, info, warning or error.")],
    profile: ProfileOption,
    output: OutputOption = Format.TABLE,
) -> None:
    """Change how much a node logs, until it is restarted. It needs an operator's profile."""
    from tanpo.client import Client, load_profile

    with Client(load_profile(profile)) as client:
        previous = client.admin.set_log_level(level)
    print_fields(output, {"level": level, "previous": previous})


@app.command()
def logs(
    config: ConfigArgument,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as the node writes.")] = False,
    lines: Annotated[
        int, typer.Option("--lines", "-n", metavar="N", min=1, help="How many of the last lines that fit.")
    ] = 50,
    level: Annotated[
        str, typer.Option("--level", help="Only lines as grave as this: debug, info, warning or error.")
    ] = "debug",
    tx: Annotated[str, typer.Option("--tx", metavar="ID", help="Only of this transaction.")] = "",
    output: OutputOption = Format.TABLE,
) -> None:
    """Print the end of a node's log file, a line for each event; `-o json` prints the lines as they are."""
    from tanpo.cli.node_logs import find_log, print_lines
    from tanpo.node.config import load_config

    path = find_log(config, load_config(config))
    print_lines(path, count=lines, follow=follow, level=level, tx_id=tx, is_raw=output is Format.JSON)


@app.command()
def drain(profile: ProfileOption, output: OutputOption = Format.TABLE) -> None:
    """Before maintenance: have a node lead no more and finish what waits. It needs an operator's profile."""
    from tanpo.client import Client, load_profile

    with Client(load_profile(profile)) as client:
        pending = client.admin.drain()
    print_fields(output, {"drained": pending == 0, "pending": pending})
    if pending:
        typer.echo(
            f"tanpo: the node leads no more and admits nothing, but {pending} of its transactions still wait "
            "for a block; `tanpo node why-stalled` says what for. If it is stopped now, the others may still "
            "commit them",
            err=True,
        )
        raise typer.Exit(1)
