"""Helpers for people who write contracts and applications: a ledger in memory, and a small market on it."""

from tanpo.testing.compared import EnginesDiffer
from tanpo.testing.ledger import (
    CallFailed,
    GasUse,
    Ledger,
    UpgradeRefused,
    build_key,
    build_member,
    build_member_arguments,
    build_validator,
)
from tanpo.testing.market import Market
from tanpo.testing.state import MemoryState

__all__ = [
    "CallFailed",
    "EnginesDiffer",
    "GasUse",
    "Ledger",
    "Market",
    "MemoryState",
    "UpgradeRefused",
    "build_key",
    "build_member",
    "build_member_arguments",
    "build_validator",
]
