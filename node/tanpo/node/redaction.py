"""Takes secrets out of text that leaves the operator's hands: those that are known, and what looks like one.

Rule: nothing is let through because its place seems harmless. A key pasted into a comment, an error that
quotes a password, a line of base64 without its PEM header: each is looked for in every text.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

REDACTED: Final = "[redacted]"
SECRET_BYTES_MAX: Final = 64 * 1024

_PEM: Final = re.compile(r"-----BEGIN [A-Z0-9 ]+-----.*?(?:-----END [A-Z0-9 ]+-----|\Z)", re.DOTALL)
_STRAY_PEM: Final = re.compile(r"-----(?:BEGIN|END) [A-Z0-9 ]+-----")
_NAMED: Final = re.compile(
    r"""(?ix)
    ((?:pass(?:word|phrase|wd)?|secret|token|credential|authorization|api[_-]?key) [\w.-]{0,64} ["']?
    \s* [:=] \s*)
    (?:"(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])*' | [^\s,;}\]]+ (?:[ ]+[^\s,;}\]]+)*)
    """
)
"""`password = "x"`, `"token": "x"`, `passphrase: x y`: the name stays, what follows it goes.

It begins with the word itself, and what follows that is bounded: a megabyte without a space would be read
again from each of its characters.
"""

_URL: Final = re.compile(r"(://)[^/\s:@]+:[^/\s@]+@")
"""User and password in an address."""

_LINE_CHARACTERS_MIN: Final = 16
"""Shorter pieces of a key's text say nothing about it, and occur by chance."""


class Redactor:
    """Knows the secrets of one node."""

    def __init__(self, secrets: Iterable[str]) -> None:
        # Longest first: what is part of another must not leave that one's rest behind.
        found = sorted({text for text in secrets if len(text) >= _LINE_CHARACTERS_MIN}, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, found)), re.IGNORECASE) if found else None

    @classmethod
    def of_files(cls, paths: Iterable[Path]) -> Redactor:
        """Return a redactor that knows what is in these files, as far as they can be read."""
        return cls(text for path in paths for text in _spell_secret(path))

    def redact(self, text: str) -> str:
        """Return the text without secrets."""
        text = _PEM.sub(REDACTED, text)
        text = _STRAY_PEM.sub(REDACTED, text)
        if self._known is not None:
            text = self._known.sub(REDACTED, text)
        text = _URL.sub(rf"\1{REDACTED}@", text)
        return _NAMED.sub(rf"\1{REDACTED}", text)


def _spell_secret(path: Path) -> Iterator[str]:
    """Yield how a secret file's content may be written: its lines, and its number in hex, base64, decimal."""
    if not path.is_file():
        return  # Nobody may ever write to a pipe.
    try:
        with path.open("rb") as file:
            content = file.read(SECRET_BYTES_MAX)
    except OSError:
        return
    yield from content.decode("utf-8", "replace").split()
    try:
        key = serialization.load_pem_private_key(content, password=None)
    except (ValueError, TypeError):
        return
    der = key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    yield from (der.hex(), b64encode(der).decode("ascii"))
    if isinstance(key, ec.EllipticCurvePrivateKey):
        number = key.private_numbers().private_value
        scalar = number.to_bytes((key.key_size + 7) // 8, "big")
        yield from (scalar.hex(), b64encode(scalar).decode("ascii"), str(number), f"{number:x}")
