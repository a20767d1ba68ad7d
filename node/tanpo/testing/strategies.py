"""Hypothesis strategies from the interface of a contract: arguments that have the declared types, and calls.

For property tests. Hypothesis is needed by whoever imports this module, and by nothing else:
`pip install tanpo[testing]`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from types import MappingProxyType
from typing import Final

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from tanpo.ledger.errors import Reason, UsageError
from tanpo.ledger.transaction import Call
from tanpo.ledger.values import INT_MAX, TEXT_BYTES_MAX, Value
from tanpo.testing.ledger import CallFailed, Ledger
from tanpo.vm import Interface, Parameter
from tanpo.vm.limits import DICT_KEY_MAX
from tanpo.vm.types import DictOf, ListOf, Record, Scalar, TupleOf, Type

Strategies = Mapping[str, SearchStrategy[Value]]

DRAWN_ITEMS_MAX: Final = 8
"""How many items a list or dict is drawn with: many calls say more than large ones."""

_NOTHING_GIVEN: Final[Strategies] = MappingProxyType({})
_CHARACTER_BYTES_MAX: Final = 4
_INT_EDGES: Final = (0, 1, -1, 2**63, -(2**63), INT_MAX, -INT_MAX)


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnCall:
    """A call that was drawn; a failing example prints it as it would be written."""

    contract: str
    entry: str
    sender: str
    arguments: Mapping[str, Value]

    def attempt(self, ledger: Ledger) -> str:
        """Make the call, and return the code that it failed with, the empty text if it succeeded."""
        try:
            ledger.submit(Call.create(self.contract, self.entry, self.arguments), sender=self.sender)
        except CallFailed as failure:
            return failure.code
        return ""


def values_of(kind: Type, *, members: Sequence[str] = ()) -> SearchStrategy[Value]:
    """Return values of a type as callers give them: a record by field, a list or tuple as a tuple, a dict as
    a tuple of pairs in ascending order of key.

    Numbers have the whole range of the language, texts and bytes at most its size; the edges are drawn often.
    Where there are members, every other text is one of them.

    Raises:
        UsageError: the type has no values that a caller could give.
    """
    match kind:
        case Scalar(name="int"):
            return st.integers(-2, 300) | st.integers(-INT_MAX, INT_MAX) | st.sampled_from(_INT_EDGES)
        case Scalar(name="bool"):
            return st.booleans()
        case Scalar(name="str"):
            return _texts(members)
        case Scalar(name="bytes"):
            return st.binary(max_size=100) | st.sampled_from((bytes(32), bytes(TEXT_BYTES_MAX)))
        case ListOf(item=item):
            return st.lists(values_of(item, members=members), max_size=DRAWN_ITEMS_MAX).map(tuple)
        case TupleOf(items=items):
            return st.tuples(*(values_of(item, members=members) for item in items))
        case Record(fields=fields):
            return st.fixed_dictionaries({name: values_of(part, members=members) for name, part in fields})
        case DictOf(key=key, value=value):
            return _dicts(key, values_of(value, members=members), members)
    raise UsageError(Reason.MISUSE, "the type has no values", value=kind, remedy="draw a value by hand")


def arguments_of(
    interface: Interface,
    entry: str,
    *,
    members: Sequence[str] = (),
    where: Strategies = _NOTHING_GIVEN,
) -> SearchStrategy[dict[str, Value]]:
    """Return arguments of an entry point or a view, or of `@init`, by name and each of its declared type.

    `where` draws the parameters it names instead, for a range or a choice that the type does not tell.

    Raises:
        UsageError: there is no such entry point, or `where` names what is no parameter of it.
    """
    parameters = _find_parameters(interface, entry)
    unknown = sorted(where.keys() - {one.name for one in parameters})
    if unknown:
        raise UsageError(
            Reason.MISUSE,
            f"{interface.contract}.{entry} has no such parameter",
            value=", ".join(unknown),
            limit=", ".join(one.name for one in parameters) or "no parameters",
            remedy="name parameters as the contract declares them",
        )
    return _draw_arguments(parameters, members, where)


def calls_of(
    interface: Interface,
    *,
    members: Sequence[str],
    where: Strategies = _NOTHING_GIVEN,
) -> SearchStrategy[DrawnCall]:
    """Return calls of all entry points of a contract, each sent by one of the members.

    `where` draws the parameters of these names, in whichever entry points have them.

    Raises:
        UsageError: there is no entry point or no member, or `where` names what is nowhere a parameter.
    """
    known = sorted({one.name for function in interface.entries for one in function.parameters})
    unknown = sorted(where.keys() - set(known))
    if not interface.entries or not members or unknown:
        raise UsageError(
            Reason.MISUSE,
            f"calls of {interface.contract} need an entry point, a member, and parameters that it has",
            value=", ".join(unknown) or f"{len(interface.entries)} entry points, {len(members)} members",
            limit=", ".join(known),
            remedy="name who calls, and parameters as the contract declares them",
        )
    return st.one_of(
        [
            st.builds(
                DrawnCall,
                contract=st.just(interface.contract),
                entry=st.just(function.name),
                sender=st.sampled_from(members),
                arguments=_draw_arguments(function.parameters, members, where),
            )
            for function in interface.entries
        ]
    )


def _find_parameters(interface: Interface, entry: str) -> tuple[Parameter, ...]:
    if entry == "@init":
        return interface.init
    function = interface.find(entry)
    if function is None:
        raise UsageError(
            Reason.MISUSE,
            f"{interface.contract} has no such entry point or view",
            value=entry,
            limit=", ".join(one.name for one in (*interface.entries, *interface.views)),
            remedy="name one that it has, or @init",
        )
    return function.parameters


def _draw_arguments(
    parameters: Sequence[Parameter], members: Sequence[str], where: Strategies
) -> SearchStrategy[dict[str, Value]]:
    return st.fixed_dictionaries(
        {one.name: where.get(one.name, values_of(one.type, members=members)) for one in parameters}
    )


def _texts(members: Sequence[str]) -> SearchStrategy[Value]:
    # A lone surrogate is no text, and a character has up to four bytes.
    drawn = st.text(st.characters(exclude_categories=["Cs"]), max_size=TEXT_BYTES_MAX // _CHARACTER_BYTES_MAX)
    texts = drawn | st.sampled_from(("", "x" * TEXT_BYTES_MAX))
    return (
        st.booleans().flatmap(lambda is_member: st.sampled_from(members) if is_member else texts)
        if members
        else texts
    )


def _dicts(key: Type, values: SearchStrategy[Value], members: Sequence[str]) -> SearchStrategy[Value]:
    keys = values_of(key, members=members)
    if key == Scalar("int"):
        keys = st.integers(-2, 300) | st.integers(-DICT_KEY_MAX, DICT_KEY_MAX)
    pairs = st.dictionaries(keys, values, max_size=DRAWN_ITEMS_MAX)
    return pairs.map(lambda drawn: tuple(sorted(drawn.items(), key=itemgetter(0))))
