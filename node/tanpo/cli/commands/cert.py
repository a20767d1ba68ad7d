"""`tanpo cert`: the certificates of a member's nodes, clients and operators."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from tanpo.cli.options import ProfileOption
from tanpo.cli.output import Format, OutputOption, print_fields

app = typer.Typer(
    help="Certificates of nodes, clients and operators.", no_args_is_help=True, rich_markup_mode=None
)

VALID_DAYS: int = 397
"""The longest that current CA practice allows."""


@app.command()
def issue(
    role: Annotated[str, typer.Argument(metavar="ROLE", help="node, client or operator.")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the node, or of who holds it.")],
    member: Annotated[str, typer.Option(help="The member whose CA issues it.")],
    ca: Annotated[Path, typer.Option(help="The CA's certificate.")],
    ca_key: Annotated[Path, typer.Option("--ca-key", help="The CA's key.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where NAME.crt and NAME.key go.")],
    host: Annotated[
        list[str] | None,
        typer.Option("--host", metavar="HOST", help="A node's host name or address; repeat for each."),
    ] = None,
    days: Annotated[
        int, typer.Option("--days", metavar="N", min=1, max=VALID_DAYS, help="How long it is valid.")
    ] = VALID_DAYS,
    output: OutputOption = Format.TABLE,
) -> None:
    """Issue a certificate with a new key. Existing files are never overwritten."""
    from tanpo.cli.certificates import Wanted, describe_certificate, issue_files

    wanted = Wanted(member=member, role=role, name=name, hosts=tuple(host or ()), days=days)
    certificate, key = issue_files(wanted, ca, ca_key, out)
    print_fields(output, {**describe_certificate(certificate), "key": str(key)})


@app.command()
def show(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A certificate, PEM.")],
    output: OutputOption = Format.TABLE,
) -> None:
    """Show whom a certificate names, who issued it, and how long it is valid."""
    from tanpo.cli.certificates import describe_certificate

    print_fields(output, describe_certificate(file))


@app.command()
def rotate(profile: ProfileOption, output: OutputOption = Format.TABLE) -> None:
    """Have a running node take over the certificate and key that are in its files now.

    They are checked first: if anything is wrong with them, the node goes on with those it has. It needs an
    operator's profile.
    """
    from tanpo.cli.certificates import spell_time
    from tanpo.client import Client, load_profile

    with Client(load_profile(profile)) as client:
        rotated = client.admin.rotate_certificate()
    print_fields(
        output,
        {
            "rotated": rotated.is_changed,
            "serial": rotated.serial,
            "valid_until": spell_time(rotated.valid_until_ms / 1000),
        },
    )
