"""Legal entity identifiers (ISO 17442): their form and their check digits."""

from __future__ import annotations

from typing import Final

_ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_LENGTH: Final = 20
_MODULUS: Final = 97


def is_lei(text: str) -> bool:
    """Return whether a text is an LEI: letters become two digits, and the number is 1 modulo 97.

    The contract `instruments` has the same rule for issuers.
    """
    if len(text) != _LENGTH or not set(text) <= set(_ALPHABET):
        return False
    return int("".join(str(_ALPHABET.index(letter)) for letter in text)) % _MODULUS == 1
