"""Options that several commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

ConfigArgument: TypeAlias = Annotated[
    # One that cannot be read is refused by whoever reads it, with a remedy, and not as wrong usage.
    Path, typer.Argument(metavar="CONFIG", readable=False, help="The node's TOML file.")
]

ProfileOption: TypeAlias = Annotated[
    Path,
    typer.Option(
        "--profile",
        "-p",
        envvar="TANPO_PROFILE",
        show_default=False,
        help="Which node, and as whom: a file such as .net/dealer-a/profile.toml.",
    ),
]

ArgumentsOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--arg", "-a", metavar="NAME=VALUE", help="An argument; JSON for what has parts. Repeat for each."
    ),
]

AnyProfileOption: TypeAlias = Annotated[
    Path | None,
    typer.Option("--profile", "-p", envvar="TANPO_PROFILE", help="Which node, and as whom."),
]
DirOption: TypeAlias = Annotated[
    Path | None,
    typer.Option("--dir", help="A local network's folder: all its members sign, and keys are found there."),
]
KeyOption: TypeAlias = Annotated[
    list[Path] | None,
    typer.Option("--key", metavar="FILE", help="A further key file to sign with, of another member."),
]
DraftOption: TypeAlias = Annotated[
    Path | None, typer.Option(help="Write a draft for the signers to sign instead; it must not exist.")
]
SignerOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        metavar="MEMBER|KEY_ID", help="Who is to sign the draft, its proposer too. Repeat for each."
    ),
]
