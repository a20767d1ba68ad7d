"""ECDSA on P-256 with SHA-256, with one answer on every node.

What is a key and what is a signature is decided here, byte by byte; only a well-formed pair reaches the
library, whose part is then arithmetic. Libraries differ in what they let pass: other encodings, other curves,
negative or overlong numbers.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final

KEY_BYTES: Final = 91
_KEY_PREFIX: Final = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d03010703420004")
"""A SubjectPublicKeyInfo in DER with an uncompressed point of P-256, up to the point."""

_FIELD: Final = 2**256 - 2**224 + 2**192 + 2**96 - 1
_B: Final = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def verify_p256(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """Return whether `signature` was made over `message` by the owner of `public_key`.

    Anything malformed gives False. A signature (r, s) and its mirror (r, n - s) are both valid, as the
    standard has it and hardware signs it, so a signature identifies nothing.
    """
    if not _is_key(public_key) or not _is_signature(signature):
        return False
    # The package of the ledger brings the library in. Here, so that the machine runs on the standard library.
    from tanpo.ledger.keys import PublicKey

    return PublicKey.decode(public_key).verify(signature, sha256(message).digest())


def _is_key(encoded: bytes) -> bool:
    if len(encoded) != KEY_BYTES or not encoded.startswith(_KEY_PREFIX):
        return False
    x, y = int.from_bytes(encoded[27:59], "big"), int.from_bytes(encoded[59:], "big")
    return x < _FIELD and y < _FIELD and (y * y - x * x * x + 3 * x - _B) % _FIELD == 0


def _is_signature(encoded: bytes) -> bool:
    """Tell whether the bytes are the one DER spelling of two numbers above 0 and below the curve's order."""
    if not 8 <= len(encoded) <= 72 or encoded[0] != 0x30 or encoded[1] != len(encoded) - 2:
        return False
    stop = _find_end(encoded, 2)
    return 0 < stop < len(encoded) and _find_end(encoded, stop) == len(encoded)


def _find_end(encoded: bytes, start: int) -> int:
    """Return where the DER integer at `start` ends, 0 if there is none in range."""
    header = encoded[start : start + 2]
    if len(header) < 2 or header[0] != 0x02 or not 1 <= header[1] <= 33:
        return 0
    stop = start + 2 + header[1]
    digits = encoded[start + 2 : stop]
    if len(digits) != header[1] or digits[0] > 0x7F or (digits[0] == 0 and digits[1:2] < b"\x80"):
        return 0
    return stop if 0 < int.from_bytes(digits, "big") < _ORDER else 0
