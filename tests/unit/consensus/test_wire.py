"""The bounds of the wire format. Round trips and fuzzing are property tests."""

from __future__ import annotations

import pytest
from tanpo.consensus.messages import Suspect
from tanpo.consensus.wire import MESSAGE_BYTES_MAX, decode_message, encode_message
from tanpo.ledger.codec import Writer
from tanpo.ledger.errors import PeerFault
from tanpo.ledger.types import Epoch, Term


def spell(tag: int, body: bytes = b"") -> bytes:
    return bytes(8) + bytes([tag]) + body


def test_a_message_starts_with_its_epoch_and_tag() -> None:
    encoded = encode_message(Suspect(term=Term(7)), Epoch(3))

    assert encoded == (3).to_bytes(8, "big") + b"\x05" + (7).to_bytes(8, "big")
    assert decode_message(encoded) == (3, Suspect(term=Term(7)))


@pytest.mark.parametrize(
    ("encoded", "what"),
    [
        (b"", "truncated"),
        (spell(0), "unknown kind of message"),
        (spell(15), "unknown kind of message"),
        (spell(5, bytes(7)), "truncated"),
        (spell(5, bytes(9)), "trailing bytes"),
        (spell(2, b"\x03" + bytes(100)), "unknown kind of vote"),
        (spell(11, Writer().u32(1025).finish()), "too many items"),
        (spell(11, Writer().u32(0).u32(0).finish()), "no blocks in a batch of committed blocks"),
        (spell(1, Writer().u32(2**31).finish()), "bytes too long"),
        (bytes(MESSAGE_BYTES_MAX + 1), "message too large"),
    ],
)
def test_what_no_writer_writes_is_refused(encoded: bytes, what: str) -> None:
    with pytest.raises(PeerFault, match=what):
        decode_message(encoded)
