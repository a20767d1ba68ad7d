"""How types of the dialect are stored: the same bytes that clients spell from the shape of a variable."""

from __future__ import annotations

from tanpo.ledger.errors import invariant
from tanpo.ledger.shapes import DictShape, ListShape, RowShape, Scalar, Shape, TupleShape
from tanpo.vm.types import SCALARS, DictOf, ListOf, Record, TupleOf, Type


def shape_of(kind: Type) -> Shape:
    """Return the shape in which values of a type are stored: the names of its records are left out."""
    match kind:
        case Record(fields=fields):
            return RowShape(tuple((name, shape_of(part)) for name, part in fields))
        case TupleOf(items=items):
            return TupleShape(tuple(shape_of(item) for item in items))
        case ListOf(item=item):
            return ListShape(shape_of(item))
        case DictOf(key=key, value=value):
            return DictShape(shape_of(key), shape_of(value))
    invariant(str(kind) in SCALARS, f"{kind} is not stored")
    return Scalar(str(kind))
