"""Limits of language version 1. All of them decide outcomes: changing one is a new language version."""

from __future__ import annotations

from typing import Final

from tanpo.ledger.keycodec import KEY_PART_BYTES_MAX
from tanpo.ledger.values import DEPTH_MAX, INT_MAX, INT_MIN, ITEMS_MAX, TEXT_BYTES_MAX

LANGUAGE_VERSION: Final = 1
GAS_TABLE_VERSION: Final = 1

GAS_LIMIT_MAX: Final = 1_000_000
"""The most gas a transaction may ask for: 100 ms at most in the worst case found."""

SOURCE_BYTES_MAX: Final = 64 * 1024
LINE_CHARACTERS_MAX: Final = 400
BRACKET_DEPTH_MAX: Final = 16
INDENT_DEPTH_MAX: Final = 12
STATEMENT_TOKENS_MAX: Final = 300
ELIF_MAX: Final = 40
DIGITS_MAX: Final = 78
NAME_CHARACTERS_MAX: Final = 48
"""Longest identifier: contract, slot and key together must fit a state key of 1,024 bytes."""

EXPRESSION_DEPTH_MAX: Final = 32
"""Deepest expression: generated text opens up to three brackets a level, and CPython stops at 200."""

STATEMENT_DEPTH_MAX: Final = 80
"""Deepest nesting of statements, where each elif counts as one: checking them recurses."""

CALL_CHAIN_MAX: Final = 32
"""Longest chain of functions inside one contract: 8 contracts of 32 functions, each with one
comprehension, need some 550 frames, and Python stops at 1,000."""

CALL_DEPTH_MAX: Final = 8
"""How many contracts may be active in one transaction."""

ITEM_COUNT_MAX: Final = ITEMS_MAX
TEXT_SIZE_MAX: Final = TEXT_BYTES_MAX
TYPE_DEPTH_MAX: Final = DEPTH_MAX - 1
TYPE_SIZE_MAX: Final = 256
"""How many types one type may hold, counting those inside records each time they occur: whatever walks
through a type does so often, and nested records multiply."""

TYPE_SIZE_FREE: Final = 16
TYPE_SIZES_MAX: Final = 32_768
"""How many types all larger types of a contract may hold together, beyond 16 each: preparing one part takes
some 7 microseconds."""

VARIABLES_MAX: Final = 256
"""Most variables, Maps and Indexes of a contract: to open one takes 25 microseconds, which no gas pays."""

RECORD_FIELDS_MAX: Final = 100
"""Most fields of a record: messages name them, and a source can make thousands of messages."""

EVENTS_MAX: Final = 1_000
PAGE_MAX: Final = 100
SHIFT_MAX: Final = 255

VALUE_WEIGHT_MAX: Final = 2_048
"""Heaviest value in one state entry; at 33 bytes a unit it stays under 68 KiB encoded."""

KEY_BYTES_MAX: Final = KEY_PART_BYTES_MAX
"""Longest encoded key, group or member; leaves room for contract and slot in a state key."""

DICT_KEY_MAX: Final = 2**61 - 2
"""Largest integer key of a dict, either sign: beyond it CPython's hashes repeat, and collisions are free."""

__all__ = [
    "BRACKET_DEPTH_MAX",
    "CALL_CHAIN_MAX",
    "CALL_DEPTH_MAX",
    "DICT_KEY_MAX",
    "DIGITS_MAX",
    "ELIF_MAX",
    "EVENTS_MAX",
    "EXPRESSION_DEPTH_MAX",
    "GAS_LIMIT_MAX",
    "GAS_TABLE_VERSION",
    "INDENT_DEPTH_MAX",
    "INT_MAX",
    "INT_MIN",
    "ITEM_COUNT_MAX",
    "KEY_BYTES_MAX",
    "LANGUAGE_VERSION",
    "LINE_CHARACTERS_MAX",
    "NAME_CHARACTERS_MAX",
    "PAGE_MAX",
    "RECORD_FIELDS_MAX",
    "SHIFT_MAX",
    "SOURCE_BYTES_MAX",
    "STATEMENT_DEPTH_MAX",
    "STATEMENT_TOKENS_MAX",
    "TEXT_SIZE_MAX",
    "TYPE_DEPTH_MAX",
    "TYPE_SIZES_MAX",
    "TYPE_SIZE_FREE",
    "TYPE_SIZE_MAX",
    "VALUE_WEIGHT_MAX",
    "VARIABLES_MAX",
]
