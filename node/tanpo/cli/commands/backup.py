"""`tanpo node backup`: copies of a node's ledger, made, checked and put back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer
from tanpo.cli.output import Format, OutputOption, print_fields

app = typer.Typer(help="Backups of a node's ledger.", no_args_is_help=True, rich_markup_mode=None)

FileArgument: TypeAlias = Annotated[Path, typer.Argument(metavar="FILE", help="The backup.")]
PassphraseOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file",
        metavar="FILE",
        help="A file of mode 0600 whose first line is the passphrase of an encrypted backup.",
    ),
]


@app.command()
def create(
    file: FileArgument,
    profile: Annotated[
        Path | None,
        typer.Option("--profile", "-p", help="Of a running node: its operator's profile."),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(metavar="CONFIG", help="Of a stopped node: its TOML file.")
    ] = None,
    passphrase_file: PassphraseOption = None,
    with_keys: Annotated[
        bool,
        typer.Option("--with-keys", help="Put the node's secret files in too: encrypted, and with --config."),
    ] = False,
    output: OutputOption = Format.TABLE,
) -> None:
    """Write a backup of a running or a stopped node to a new file, whole or not at all."""
    from tanpo.cli.backup import create_backup, describe_backup

    manifest = create_backup(
        file, profile=profile, config=config, passphrase_file=passphrase_file, with_keys=with_keys
    )
    print_fields(output, describe_backup(file, manifest))


@app.command()
def verify(
    file: FileArgument,
    genesis: Annotated[
        Path | None, typer.Option(help="The genesis of the network that it ought to be of.")
    ] = None,
    passphrase_file: PassphraseOption = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Check every byte of a backup, its chain of blocks and its state, without restoring it."""
    from tanpo.cli.backup import describe_backup, verify_backup

    manifest = verify_backup(file, genesis=genesis, passphrase_file=passphrase_file)
    print_fields(output, {"sound": True, **describe_backup(file, manifest)})


@app.command()
def restore(
    file: FileArgument,
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="The TOML file of the node to restore.")],
    passphrase_file: PassphraseOption = None,
    keys: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where the secret files of the backup go.")
    ] = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Restore into a node's empty data directory. A validator has amnesia then, and must rejoin to vote."""
    from tanpo.cli.backup import describe_backup, restore_node

    manifest = restore_node(file, config, passphrase_file=passphrase_file, keys_dir=keys)
    print_fields(output, {"restored": True, **describe_backup(file, manifest)})
