"""Options that several commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

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
