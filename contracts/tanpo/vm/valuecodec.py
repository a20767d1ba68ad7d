"""Values of the state in the types of the dialect (`tanpo.ledger.valuecodec`)."""

from __future__ import annotations

from collections.abc import Callable

from tanpo.ledger import valuecodec
from tanpo.ledger.keycodec import Encode
from tanpo.vm.stored import shape_of
from tanpo.vm.types import Type


def build_encoder(kind: Type) -> Encode:
    """Return a function that spells values of this type."""
    return valuecodec.build_encoder(shape_of(kind))


def build_decoder(kind: Type) -> Callable[[bytes], object]:
    """Return the reverse of `build_encoder`. Bytes that are no spelling raise `CorruptState`."""
    return valuecodec.build_decoder(shape_of(kind))
