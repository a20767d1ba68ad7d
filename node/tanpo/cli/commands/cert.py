"""`tanpo cert`: the certificates of a member's nodes, clients and operators."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer
from tanpo.cli.options import ProfileOption
from tanpo.cli.output import Format, OutputOption, print_fields

app = typer.Typer(
    help="Certificates of nodes, clients and operators.", no_args_is_help=True, rich_markup_mode=None
)

VALID_DAYS: int = 397
"""The longest that current CA practice allows."""

RoleArgument: TypeAlias = Annotated[str, typer.Argument(metavar="ROLE", help="node, client or operator.")]
NameArgument: TypeAlias = Annotated[
    str, typer.Argument(metavar="NAME", help="Of the node, or of who holds it.")
]
HostOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--host", metavar="HOST", help="A node's host name or address; repeat for each."),
]


@app.command()
def issue(
    role: RoleArgument,
    name: NameArgument,
    member: Annotated[str, typer.Option(help="The member whose CA issues it.")],
    ca: Annotated[Path, typer.Option(help="The CA's certificate.")],
    ca_key: Annotated[Path, typer.Option("--ca-key", help="The CA's key.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where NAME.crt and NAME.key go.")],
    host: HostOption = None,
    days: Annotated[
        int, typer.Option("--days", metavar="N", min=1, max=VALID_DAYS, help="How long it is valid.")
    ] = VALID_DAYS,
    output: OutputOption = Format.TABLE,
) -> None:
    """Issue a certificate with a new key. Existing files are never overwritten."""
    from tanpo.cli.certificates import Wanted, describe_certificate, issue_files

    wanted = Wanted(member=member, role=role, name=name, hosts=tuple(host or ()))
    certificate, key = issue_files(wanted, days, ca, ca_key, out)
    print_fields(output, {**describe_certificate(certificate), "key": str(key)})


@app.command()
def request(
    role: RoleArgument,
    name: NameArgument,
    member: Annotated[str, typer.Option(help="The member whose CA is asked.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where NAME.csr and NAME.key go.")],
    host: HostOption = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Make a key, and the request (CSR) with which a CA elsewhere issues its certificate.

    The key stays here; the request is no secret. Existing files are never overwritten.
    """
    from tanpo.cli.certificates import Wanted, request_files

    wanted = Wanted(member=member, role=role, name=name, hosts=tuple(host or ()))
    made, key = request_files(wanted, out)
    print_fields(output, {"request": str(made), "key": str(key)})


@app.command()
def install(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="The node's node.toml.")],
    certificate: Annotated[Path, typer.Option(help="What the CA issued, PEM.")],
    key: Annotated[Path, typer.Option(help="The key that it was asked for with.")],
    ca: Annotated[
        Path | None, typer.Option(help="The CA that issued it, where it is another than before.")
    ] = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Check a new certificate as a start of the node would, and put it in the place of the node's own.

    If anything is wrong with it, nothing changes. The files of before stay beside, as FILE.before. A node
    that runs takes the new ones over when `tanpo cert rotate` tells it to.
    """
    from tanpo.cli.cert_install import install_files
    from tanpo.cli.certificates import describe_certificate
    from tanpo.node.config import load_config

    installed, installed_key = install_files(load_config(config), certificate, key, ca)
    print_fields(output, {**describe_certificate(installed), "key": str(installed_key)})


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
