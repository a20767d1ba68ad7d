"""`tanpo key`: the keys that sign transactions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer
from tanpo.cli.output import Format, OutputOption, print_fields

if TYPE_CHECKING:
    from tanpo.ledger.keys import PrivateKey

app = typer.Typer(help="Keys that sign transactions.", no_args_is_help=True, rich_markup_mode=None)

FileArgument: TypeAlias = Annotated[Path, typer.Argument(metavar="FILE", help="The key file.")]


@app.command()
def generate(file: FileArgument, output: OutputOption = Format.TABLE) -> None:
    """Make a new P-256 key in a file that only its owner may read. An existing file is never overwritten."""
    from tanpo.client.keyfile import save_key
    from tanpo.ledger.keys import PrivateKey

    key = PrivateKey.generate()
    save_key(file, key)
    _print_key(output, file, key)


@app.command()
def show(file: FileArgument, output: OutputOption = Format.TABLE) -> None:
    """Show the id and the public half of a key, as a genesis names them."""
    from tanpo.client.keyfile import load_key

    _print_key(output, file, load_key(file))


@app.command()
def export(
    file: FileArgument,
    out: Annotated[Path, typer.Option("--out", help="The file to write; it must not exist.")],
    output: OutputOption = Format.TABLE,
) -> None:
    """Write the public half of a key to a PEM file, to be given to others."""
    from tanpo.client.keyfile import load_key, save_public_key

    key = load_key(file)
    save_public_key(out, key.public_key)
    print_fields(output, {"file": str(out), "key_id": key.key_id.hex()})


def _print_key(output: Format, file: Path, key: PrivateKey) -> None:
    from tanpo.ledger.keys import ALGORITHM

    print_fields(
        output,
        {
            "file": str(file),
            "key_id": key.key_id.hex(),
            "algorithm": ALGORITHM,
            "public_key": key.public_key.encoded.hex(),
        },
    )
