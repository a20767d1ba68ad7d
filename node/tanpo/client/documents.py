"""Small JSON files that travel between machines: a format name, a version, and fields checked when read."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tanpo.ledger.errors import Reason, UsageError

DOCUMENT_VERSION: Final = 1
DOCUMENT_BYTES_MAX: Final = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """The fields of a file; every access checks the type and names file and field when it is wrong."""

    source: str
    fields: Mapping[str, Any]

    def integer(self, name: str) -> int:
        """Return an integer of at least 0."""
        value = self._get(name)
        if type(value) is not int or value < 0:
            raise self.fault(f"field {name!r} is no integer of at least 0", value)
        return value

    def text(self, name: str) -> str:
        """Return a text."""
        return self._text(name, self._get(name))

    def text_list(self, name: str) -> tuple[str, ...]:
        """Return a list of texts."""
        return tuple(self._text(name, item) for item in self._list(name))

    def hex(self, name: str) -> bytes:
        """Return bytes written as hexadecimal digits."""
        return self._bytes(name, self._get(name))

    def hex_list(self, name: str) -> tuple[bytes, ...]:
        """Return a list of bytes."""
        return tuple(self._bytes(name, item) for item in self._list(name))

    def fault(self, why: str, value: object = "") -> UsageError:
        """Return the error that names this file."""
        return _unusable(self.source, why, value)

    def _get(self, name: str) -> Any:
        if name not in self.fields:
            raise self.fault(f"field {name!r} is missing")
        return self.fields[name]

    def _list(self, name: str) -> list[Any]:
        value = self._get(name)
        if not isinstance(value, list):
            raise self.fault(f"field {name!r} is no list", value)
        return value

    def _text(self, name: str, value: object) -> str:
        if not isinstance(value, str):
            raise self.fault(f"field {name!r} is no text", value)
        return value

    def _bytes(self, name: str, value: object) -> bytes:
        try:
            return bytes.fromhex(value) if isinstance(value, str) else _refuse()
        except ValueError:
            raise self.fault(f"field {name!r} is not in hexadecimal digits", value) from None


def write_document(kind: str, fields: Mapping[str, Any]) -> str:
    """Return the text of a file of this kind."""
    return json.dumps({"format": kind, "version": DOCUMENT_VERSION, **fields}, indent=2) + "\n"


def parse_document(text: str, kind: str, source: str) -> Document:
    """Return the fields of a document of this kind. Raises `UsageError` for any other text."""
    try:
        fields = json.loads(text)
    except ValueError:
        raise _unusable(source, "is no JSON") from None
    if not isinstance(fields, dict) or fields.get("format") != kind:
        found = fields.get("format") if isinstance(fields, dict) else type(fields).__name__
        raise _unusable(source, f"is no {kind} file", found)
    if fields.get("version") != DOCUMENT_VERSION:
        raise _unusable(source, f"has a version other than {DOCUMENT_VERSION}", fields.get("version"))
    return Document(source=source, fields=fields)


def save_document(path: Path | str, kind: str, fields: Mapping[str, Any]) -> None:
    """Write a new file. Raises `UsageError` when it exists or cannot be written."""
    save_text(path, write_document(kind, fields))


def save_text(path: Path | str, text: str) -> None:
    """Write a text to a new file. Raises `UsageError` when it exists or cannot be written."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError:
        raise _unusable(str(path), "exists already", "", "choose another name") from None
    except OSError as error:
        raise _unusable(
            str(path), f"cannot be written: {error.strerror}", "", "choose another folder"
        ) from None


def read_document(path: Path | str, kind: str) -> Document:
    """Return the fields of a file of this kind. Raises `UsageError` for any other file."""
    try:
        with Path(path).open(encoding="utf-8") as stream:
            text = stream.read(DOCUMENT_BYTES_MAX + 1)
    except OSError as error:
        raise _unusable(str(path), f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise _unusable(str(path), "is no UTF-8 text") from None
    if len(text) > DOCUMENT_BYTES_MAX:
        raise _unusable(str(path), "is too large", f"more than {DOCUMENT_BYTES_MAX}")
    return parse_document(text, kind, str(path))


def _refuse() -> bytes:
    raise ValueError


def _unusable(source: str, why: str, value: object = "", remedy: str = "") -> UsageError:
    return UsageError(
        Reason.CONFIGURATION, f"file {source} {why}", value=value, remedy=remedy or "name the right file"
    )
