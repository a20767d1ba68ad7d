"""`verify_p256`: the mathematics of the standard, one spelling of keys and signatures, never an error."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tanpo.ledger.keys import PrivateKey
from tanpo.vm import Outcome
from tanpo.vm.signatures import verify_p256

Evaluate = Callable[..., Outcome]
Point = tuple[int, int] | None

P = 2**256 - 2**224 + 2**192 + 2**96 - 1
N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
G = (
    0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
    0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
)
PREFIX = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d03010703420004")
SECRET = 0x1F3A9
MESSAGE = b"5:bob"


def add(a: Point, b: Point) -> Point:
    if a is None or b is None:
        return b if a is None else a
    if a[0] == b[0] and (a[1] + b[1]) % P == 0:
        return None
    if a == b:
        slope = (3 * a[0] * a[0] - 3) * pow(2 * a[1], -1, P)
    else:
        slope = (b[1] - a[1]) * pow(b[0] - a[0], -1, P)
    x = (slope * slope - a[0] - b[0]) % P
    return x, (slope * (a[0] - x) - a[1]) % P


def multiply(count: int, point: Point) -> Point:
    total: Point = None
    while count:
        if count & 1:
            total = add(total, point)
        point, count = add(point, point), count >> 1
    return total


def spell_number(number: int) -> bytes:
    digits = number.to_bytes(number.bit_length() // 8 + 1, "big")
    return bytes((2, len(digits))) + digits


def spell(r: int, s: int) -> bytes:
    body = spell_number(r) + spell_number(s)
    return bytes((0x30, len(body))) + body


def spell_key(point: Point) -> bytes:
    assert point is not None
    return PREFIX + point[0].to_bytes(32, "big") + point[1].to_bytes(32, "big")


def sign(secret: int, message: bytes, nonce: int) -> tuple[int, int]:
    point = multiply(nonce, G)
    assert point is not None
    digest = int.from_bytes(sha256(message).digest(), "big")
    return point[0] % N, pow(nonce, -1, N) * (digest + point[0] * secret) % N


KEY = spell_key(multiply(SECRET, G))
R, S = sign(SECRET, MESSAGE, 0xABCDEF)
GOOD = spell(R, S)


@settings(max_examples=15)
@given(st.integers(1, N - 1), st.binary(max_size=100), st.integers(1, N - 1))
def test_signatures_of_textbook_arithmetic_are_good(secret: int, message: bytes, nonce: int) -> None:
    r, s = sign(secret, message, nonce)
    key = spell_key(multiply(secret, G))
    assert verify_p256(key, message, spell(r, s))
    assert not verify_p256(key, message + b"x", spell(r, s))
    assert not verify_p256(key, message, spell(r, s % (N - 1) + 1))


def test_signature_of_the_ledgers_own_keys_is_good() -> None:
    key = PrivateKey.generate()
    signature = key.sign(sha256(MESSAGE).digest())
    assert verify_p256(key.public_key.encoded, MESSAGE, signature)


def test_mirrored_signature_is_good_too() -> None:
    assert verify_p256(KEY, MESSAGE, GOOD)
    assert verify_p256(KEY, MESSAGE, spell(R, N - S))


@pytest.mark.parametrize(
    "signature",
    [
        b"",
        b"0",
        GOOD[:-1],
        GOOD + b"\0",
        bytes(72),
        spell(0, S),
        spell(R, 0),
        spell(N, S),
        spell(R, N),
        spell(R + N, S),
        spell(R, S + N),
        b"\x31" + GOOD[1:],
        b"\x30\x81" + GOOD[1:],
        b"\x30\x80" + GOOD[2:] + b"\0\0",
        bytes((0x30, GOOD[1] + 1, 2, 34, 0)) + GOOD[4:],
        bytes((0x30, GOOD[1] + 1, 2, GOOD[3] + 1, 0)) + GOOD[4:],
        b"\x30\x06\x02\x01\xff\x02\x01\x01",
        b"\x30\x06\x02\x01\x81\x02\x01\x01",
        b"\x30\x06\x02\x00\x02\x02\x01\x01",
        b"\x30\x07\x02\x01\x01\x02\x02\x01",
        b"\x30\x06\x02\x04\x01\x02\x01\x01",
        R.to_bytes(32, "big") + S.to_bytes(32, "big"),
    ],
)
def test_other_spellings_of_a_signature_are_bad(signature: bytes) -> None:
    assert verify_p256(KEY, MESSAGE, signature) is False


@pytest.mark.parametrize(
    "key",
    [
        b"",
        KEY[:-1],
        KEY + b"\0",
        KEY[27:],
        bytes(91),
        PREFIX + bytes(64),
        KEY[:-1] + bytes((KEY[-1] ^ 1,)),
        PREFIX + (P).to_bytes(32, "big") + KEY[59:],
        PREFIX + KEY[27:59] + (2**256 - 1).to_bytes(32, "big"),
        KEY[:26] + b"\x02" + KEY[27:],
        KEY.replace(bytes.fromhex("2a8648ce3d030107"), bytes.fromhex("2a8648ce3d030106")),
    ],
)
def test_what_is_no_key_on_the_curve_is_bad(key: bytes) -> None:
    assert verify_p256(key, MESSAGE, GOOD) is False


@given(st.binary(max_size=100), st.binary(max_size=80))
def test_any_bytes_are_answered(key: bytes, signature: bytes) -> None:
    assert verify_p256(key, MESSAGE, signature) is False
    assert verify_p256(KEY, MESSAGE, signature) is False
    assert verify_p256(key, MESSAGE, GOOD) is False


def test_contract_verifies_what_was_composed_of_its_values(evaluate: Evaluate) -> None:
    body = "return verify_p256(key, f'{amount}:{to}'.encode(), signature)"
    arguments = {"key": KEY, "to": "bob", "signature": GOOD}
    assert evaluate(body, "bool", amount=5, **arguments).value is True
    assert evaluate(body, "bool", amount=6, **arguments).value is False


def test_signatures_are_paid_for(evaluate: Evaluate) -> None:
    outcome = evaluate("while True:\n    x = verify_p256(key, key, key)", key=b"")
    assert (outcome.code, outcome.gas_used) == ("OUT_OF_GAS", 1_000_000)
