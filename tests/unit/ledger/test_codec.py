from __future__ import annotations

from collections.abc import Callable

import pytest
from tanpo.ledger import U8_MAX, U16_MAX, U32_MAX, U64_MAX, PeerFault, Reader, Reason, Writer


def test_fields_come_back_in_the_order_they_were_written() -> None:
    writer = Writer().u8(1).u16(2).u32(3).u64(4).flag(True).raw(b"raw").blob(b"blob").text("担保")

    reader = Reader(writer.finish())

    assert (reader.u8(), reader.u16(), reader.u32(), reader.u64(), reader.flag()) == (1, 2, 3, 4, True)
    assert (reader.raw(3), reader.blob(4), reader.text(6)) == (b"raw", b"blob", "担保")
    assert reader.remaining == 0
    reader.finish()


@pytest.mark.parametrize(
    ("write", "value"),
    [
        (Writer().u8, U8_MAX + 1),
        (Writer().u16, U16_MAX + 1),
        (Writer().u32, U32_MAX + 1),
        (Writer().u64, U64_MAX + 1),
        (Writer().u8, -1),
    ],
)
def test_writer_refuses_a_number_out_of_range(write: Callable[[int], Writer], value: int) -> None:
    with pytest.raises(OverflowError):
        write(value)


def test_writer_refuses_text_too_long_for_its_length() -> None:
    with pytest.raises(OverflowError):
        Writer().text("a" * (U16_MAX + 1))


@pytest.mark.parametrize(
    ("data", "read", "message"),
    [
        (b"", lambda r: r.u8(), "truncated"),
        (b"\0", lambda r: r.u16(), "truncated"),
        (b"\0\0\0", lambda r: r.u32(), "truncated"),
        (b"\0" * 7, lambda r: r.u64(), "truncated"),
        (b"ab", lambda r: r.raw(3), "truncated"),
        (b"\2", lambda r: r.flag(), "boolean is neither 0 nor 1"),
        (b"\0\0\0\3ab", lambda r: r.blob(9), "truncated"),
        (b"\0\0\0\3abc", lambda r: r.blob(2), "bytes too long"),
        (b"\0\0\0", lambda r: r.blob(9), "truncated"),
        (b"\0\3ab", lambda r: r.text(9), "truncated"),
        (b"\0\3abc", lambda r: r.text(2), "text too long"),
        (b"\3", lambda r: r.text(2), "truncated"),
        (b"\0\1\xff", lambda r: r.text(2), "text is not UTF-8"),
        (b"\0\3\xed\xa0\x80", lambda r: r.text(3), "text is not UTF-8"),
        (b"\0\2\xc0\x80", lambda r: r.text(2), "text is not UTF-8"),
        (b"\0\0\0\5", lambda r: r.count(4), "too many items"),
        (b"a", lambda r: r.finish(), "trailing bytes"),
    ],
)
def test_reader_refuses_what_no_writer_writes(
    data: bytes, read: Callable[[Reader], object], message: str
) -> None:
    with pytest.raises(PeerFault) as caught:
        read(Reader(data))

    assert caught.value.reason is Reason.MALFORMED
    assert caught.value.message == message
    assert caught.value.remedy


def test_refusal_names_the_value_and_the_limit() -> None:
    with pytest.raises(PeerFault) as caught:
        Reader(b"\0\0\0\5hello").blob(4)

    assert (caught.value.value, caught.value.limit) == ("5", "4")
