"""The canonical encoding: big-endian, length-prefixed, exactly one spelling per value.

Every signed or hashed structure of the ledger is written with `Writer` and read with `Reader`. A reader
refuses, with `PeerFault(MALFORMED)`, whatever a writer would not have written: trailing bytes, lengths
beyond the stated maximum, text that is not strict UTF-8, booleans other than 0 and 1.
"""

from __future__ import annotations

from typing import Final

from tanpo.ledger.errors import PeerFault, Reason

U8_MAX: Final = 0xFF
U16_MAX: Final = 0xFFFF
U32_MAX: Final = 0xFFFF_FFFF
U64_MAX: Final = 0xFFFF_FFFF_FFFF_FFFF


def malformed(what: str, *, value: object = "", limit: object = "") -> PeerFault:
    """Return the error for bytes that are not the one encoding of any value."""
    return PeerFault(Reason.MALFORMED, what, value=value, limit=limit, remedy="send the canonical encoding")


class Writer:
    """Collects the encoded fields of one structure. Values out of range raise `OverflowError`."""

    __slots__ = ("_parts",)

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def u8(self, value: int) -> Writer:
        """Append one byte."""
        self._parts.append(value.to_bytes(1, "big"))
        return self

    def u16(self, value: int) -> Writer:
        """Append two bytes."""
        self._parts.append(value.to_bytes(2, "big"))
        return self

    def u32(self, value: int) -> Writer:
        """Append four bytes."""
        self._parts.append(value.to_bytes(4, "big"))
        return self

    def u64(self, value: int) -> Writer:
        """Append eight bytes."""
        self._parts.append(value.to_bytes(8, "big"))
        return self

    def flag(self, value: bool) -> Writer:
        """Append a boolean as one byte, 0 or 1."""
        self._parts.append(b"\x01" if value else b"\x00")
        return self

    def raw(self, value: bytes) -> Writer:
        """Append bytes whose length the reader knows."""
        self._parts.append(value)
        return self

    def blob(self, value: bytes) -> Writer:
        """Append a length (four bytes) and the bytes."""
        self._parts.append(len(value).to_bytes(4, "big"))
        self._parts.append(value)
        return self

    def text(self, value: str) -> Writer:
        """Append a length (two bytes) and strict UTF-8."""
        encoded = value.encode("utf-8")
        self._parts.append(len(encoded).to_bytes(2, "big"))
        self._parts.append(encoded)
        return self

    def finish(self) -> bytes:
        """Return everything appended so far."""
        return b"".join(self._parts)


class Reader:
    """Reads fields in the order they were written. Every failure is a `PeerFault`.

    `data` and `position` are open to decoders that scan a hot structure in place.
    """

    __slots__ = ("_end", "data", "position")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.position = 0
        self._end = len(data)

    @property
    def remaining(self) -> int:
        """How many bytes have not been read."""
        return self._end - self.position

    def raw(self, size: int) -> bytes:
        """Return the next `size` bytes."""
        start = self.position
        stop = start + size
        if stop > self._end:
            raise malformed("truncated", value=f"{self._end - start} bytes left", limit=f"{size} needed")
        self.position = stop
        return self.data[start:stop]

    def u8(self) -> int:
        """Return one byte as a number."""
        position = self.position
        if position >= self._end:
            raise malformed("truncated", value="0 bytes left", limit="1 needed")
        self.position = position + 1
        return self.data[position]

    def u16(self) -> int:
        """Return two bytes as a number."""
        return int.from_bytes(self.raw(2), "big")

    def u32(self) -> int:
        """Return four bytes as a number."""
        return int.from_bytes(self.raw(4), "big")

    def u64(self) -> int:
        """Return eight bytes as a number."""
        return int.from_bytes(self.raw(8), "big")

    def flag(self) -> bool:
        """Return a boolean; only 0 and 1 are accepted."""
        value = self.u8()
        if value > 1:
            raise malformed("boolean is neither 0 nor 1", value=value, limit="0 or 1")
        return value == 1

    def blob(self, size_max: int) -> bytes:
        """Return length-prefixed bytes of at most `size_max`."""
        start = self.position + 4
        size = int.from_bytes(self.data[start - 4 : start], "big")
        stop = start + size
        if size > size_max or stop > self._end:
            raise self._bad_length("bytes too long", size, size_max, start)
        self.position = stop
        return self.data[start:stop]

    def text(self, size_max: int) -> str:
        """Return length-prefixed text of at most `size_max` UTF-8 bytes."""
        start = self.position + 2
        size = int.from_bytes(self.data[start - 2 : start], "big")
        stop = start + size
        if size > size_max or stop > self._end:
            raise self._bad_length("text too long", size, size_max, start)
        self.position = stop
        try:
            return self.data[start:stop].decode()
        except UnicodeDecodeError:
            raise malformed("text is not UTF-8") from None

    def count(self, items_max: int) -> int:
        """Return a four-byte item count of at most `items_max`."""
        items = int.from_bytes(self.raw(4), "big")
        if items > items_max:
            raise malformed("too many items", value=items, limit=items_max)
        return items

    def finish(self) -> None:
        """Refuse bytes after the last field."""
        if self.position != self._end:
            raise malformed("trailing bytes", value=self._end - self.position, limit=0)

    def _bad_length(self, what: str, size: int, size_max: int, start: int) -> PeerFault:
        if start <= self._end and size > size_max:
            return malformed(what, value=size, limit=size_max)
        return malformed("truncated", value=f"{max(0, self._end - start)} bytes left", limit=f"{size} needed")
