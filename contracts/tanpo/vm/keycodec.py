"""Keys of the state in the types of the dialect (`tanpo.ledger.keycodec`): one too long aborts."""

from __future__ import annotations

from tanpo.ledger import keycodec
from tanpo.ledger.keycodec import Decode, Encode, slot_prefix
from tanpo.vm.limits import KEY_BYTES_MAX
from tanpo.vm.outcome import Abort
from tanpo.vm.stored import shape_of
from tanpo.vm.types import Type

__all__ = ["build_key_encoder", "build_member_codec", "slot_prefix"]


def build_key_encoder(kind: Type) -> Encode:
    """Return the injective encoding of a key type; keys that are too long abort with KEY_RANGE."""
    return keycodec.build_key_encoder(shape_of(kind), _refuse)


def build_member_codec(kind: Type) -> tuple[Encode, Decode]:
    """Return the order-preserving encoding of a member type, and its reverse."""
    return keycodec.build_member_codec(shape_of(kind), _refuse)


def _refuse(size: int) -> Abort:
    return Abort("KEY_RANGE", (("limit", KEY_BYTES_MAX), ("size", size)))
