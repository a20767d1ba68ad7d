"""`tanpo verify`: check a proof file, without any node."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from tanpo.cli.output import Format, OutputOption, print_fields, print_text

if TYPE_CHECKING:
    from tanpo.ledger.errors import LedgerError
    from tanpo.ledger.genesis import Genesis
    from tanpo.ledger.prooffile import ProofFile


def verify(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The proof, as it was exported.")],
    genesis: Annotated[Path, typer.Option(help="The network's genesis file: it is what you trust.")],
    pin: Annotated[
        str | None,
        typer.Option(metavar="EPOCH:HASH", help="Trust the validators of this epoch, and none before them."),
    ] = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Check a proof offline, and say in plain words what is proved, or which link of it fails."""
    # No client, no node: whoever checks a proof needs the rules of the ledger alone.
    from tanpo.cli.wording import blocks_to_json, describe_blocks, describe_verdict, verdict_to_json
    from tanpo.ledger.blockcheck import verify_block_file
    from tanpo.ledger.blockexport import MAGIC
    from tanpo.ledger.lineage import EpochPin
    from tanpo.ledger.proofcheck import verify_proof_file

    known = _load_genesis(genesis)
    pinned = None if pin is None else EpochPin.parse(pin)
    with file.open("rb") as stream:
        if stream.read(len(MAGIC)) == MAGIC:
            blocks = verify_block_file(stream, known, pinned)
            _show(output, describe_blocks(blocks, known), blocks_to_json(blocks))
            return
    verdict = verify_proof_file(_load_file(file), known, pinned)
    _show(output, describe_verdict(verdict, known), verdict_to_json(verdict))


def _show(output: Format, words: list[str], fields: dict[str, Any]) -> None:
    if output is Format.JSON:
        print_fields(output, {"proved": words, **fields})
    else:
        print_text("\n".join(words))


def _load_genesis(path: Path) -> Genesis:
    from tanpo.ledger.genesis import genesis_from_json

    return genesis_from_json(_read(path))


def _load_file(path: Path) -> ProofFile:
    from tanpo.ledger.proofparse import decode_proof_file

    return decode_proof_file(_read(path))


def _read(path: Path) -> str:
    from tanpo.ledger.proofparse import FILE_CHARACTERS_MAX

    try:
        with path.open(encoding="utf-8") as stream:
            return stream.read(FILE_CHARACTERS_MAX + 1)
    except UnicodeDecodeError:
        raise _unusable(path) from None


def _unusable(path: Path) -> LedgerError:
    from tanpo.ledger.errors import Reason, UsageError

    return UsageError(
        Reason.CONFIGURATION, "a file is no UTF-8 text", value=path, remedy="name the right file"
    )
