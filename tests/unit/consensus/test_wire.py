"""The bounds of the wire format. Round trips and fuzzing are property tests."""

from __future__ import annotations

import pytest
from tanpo.consensus.messages import Suspect
from tanpo.consensus.wire import MESSAGE_BYTES_MAX, decode_message, encode_message
from tanpo.ledger.codec import Writer
from tanpo.ledger.errors import PeerFault
from tanpo.ledger.types import Term


def test_a_message_starts_with_its_tag() -> None:
    assert encode_message(Suspect(term=Term(7))) == b"\x05" + (7).to_bytes(8, "big")


@pytest.mark.parametrize(
    ("encoded", "what"),
    [
        (b"", "truncated"),
        (b"\x00", "unknown kind of message"),
        (b"\x0c", "unknown kind of message"),
        (b"\x05" + bytes(7), "truncated"),
        (b"\x05" + bytes(9), "trailing bytes"),
        (b"\x02\x03" + bytes(100), "unknown kind of vote"),
        (Writer().u8(11).u32(1025).finish(), "too many items"),
        (Writer().u8(11).u32(0).u32(0).finish(), "no blocks in a batch of committed blocks"),
        (Writer().u8(1).u32(2**31).finish(), "bytes too long"),
        (bytes(MESSAGE_BYTES_MAX + 1), "message too large"),
    ],
)
def test_what_no_writer_writes_is_refused(encoded: bytes, what: str) -> None:
    with pytest.raises(PeerFault, match=what):
        decode_message(encoded)
