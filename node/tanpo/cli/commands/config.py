"""`tanpo node config`: whether a node's configuration is right, before the node is started with it."""

from __future__ import annotations

import os

import typer
from tanpo.cli.options import ConfigArgument
from tanpo.cli.output import Format, OutputOption

app = typer.Typer(help="A node's configuration.", no_args_is_help=True, rich_markup_mode=None)


@app.command()
def check(config: ConfigArgument, output: OutputOption = Format.TABLE) -> None:
    """Check a configuration, the environment and all files they name, and print everything that is wrong.

    Exits with the code that `tanpo node run` would end with (deploy/README.md). Nothing is changed.
    """
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from tanpo.cli.checks import print_report
    from tanpo.node.checking import check_node
    from tanpo.node.clock import Clock

    report = check_node(config, Clock.system().wall_ms())
    print_report(output, report)
    raise typer.Exit(int(report.exit_code))
