"""The files that go round among members: the genesis, cards, signatures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tanpo.cli.founding.cards import CARD, Card, load_card
from tanpo.cli.founding.signing import SIGNATURE, GenesisSignature, load_signature
from tanpo.client.documents import DOCUMENT_BYTES_MAX
from tanpo.ledger.errors import Reason, UsageError
from tanpo.ledger.genesis import Genesis, genesis_from_json


@dataclass(frozen=True, slots=True, kw_only=True)
class GenesisFile:
    """A genesis and the bytes of its file."""

    genesis: Genesis
    content: bytes


def read_genesis(path: Path) -> GenesisFile:
    """Return the genesis in a file.

    Raises:
        UsageError: there is none, or it contradicts itself; the message names the file.
    """
    content = _read(path)
    try:
        return GenesisFile(genesis=genesis_from_json(content.decode("utf-8")), content=content)
    except UnicodeDecodeError:
        raise _wrong(path, "is no UTF-8 text", "a genesis") from None
    except UsageError as error:
        raise UsageError(
            error.reason,
            f"{path}: {error.message}",
            value=error.value or path,
            limit=error.limit,
            remedy="have it proposed anew (`tanpo genesis propose`), or copied again",
        ) from None


def sort_files(paths: Sequence[Path]) -> tuple[list[Card], list[GenesisSignature]]:
    """Return the cards and the signatures among some files. Raises `UsageError` for any other file."""
    cards: list[Card] = []
    signatures: list[GenesisSignature] = []
    for path in paths:
        kind = _find_format(path)
        if kind == CARD:
            cards.append(load_card(path))
        elif kind == SIGNATURE:
            signatures.append(load_signature(path))
        else:
            raise _wrong(path, "is neither a card nor a signature", f"{CARD} or {SIGNATURE} files")
    return cards, signatures


def _find_format(path: Path) -> object:
    try:
        document = json.loads(_read(path))
    except (ValueError, RecursionError):
        return None
    return document.get("format") if isinstance(document, dict) else None


def _read(path: Path) -> bytes:
    with path.open("rb") as stream:
        content = stream.read(DOCUMENT_BYTES_MAX + 1)
    if len(content) > DOCUMENT_BYTES_MAX:
        raise _wrong(path, "is too large", f"{DOCUMENT_BYTES_MAX} bytes")
    return content


def _wrong(path: Path, why: str, limit: object) -> UsageError:
    return UsageError(
        Reason.CONFIGURATION, f"{path} {why}", value=path, limit=limit, remedy="name the right file"
    )
