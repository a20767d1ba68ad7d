"""What a stored value weighs at least, told from its spelling: never more than it weighs, of any type."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from tanpo.vm.gas import weigher
from tanpo.vm.spelled import build_least
from tanpo.vm.types import BOOL, BYTES, INT, STR, DictOf, ListOf, Record, TupleOf, Type
from tanpo.vm.valuecodec import build_encoder

SHORT = st.text(alphabet="abc", max_size=8)
ANY = st.text(max_size=200).filter(lambda text: text.encode("utf-8", "ignore").decode() == text)
KINDS: st.SearchStrategy[Type] = st.recursive(
    st.sampled_from([INT, BOOL, STR, BYTES]),
    lambda inner: st.one_of(
        st.builds(ListOf, inner),
        st.builds(DictOf, st.sampled_from([INT, STR]), inner),
        st.lists(inner, min_size=1, max_size=3).map(lambda items: TupleOf(tuple(items))),
        st.lists(inner, min_size=1, max_size=3).map(
            lambda items: Record("t", "R", tuple((f"f{place}", item) for place, item in enumerate(items)))
        ),
    ),
    max_leaves=6,
)


def values_of(kind: Type, texts: st.SearchStrategy[str]) -> st.SearchStrategy[object]:
    match kind:
        case ListOf(item=item):
            return st.lists(values_of(item, texts), max_size=4)
        case DictOf(key=key, value=value):
            return st.dictionaries(values_of(key, texts), values_of(value, texts), max_size=4)
        case TupleOf(items=items):
            return st.tuples(*(values_of(item, texts) for item in items))
        case Record(fields=fields):
            return st.tuples(*(values_of(item, texts) for _, item in fields)).map(list)
    if kind == INT:
        return st.integers(-(2**255) + 1, 2**255 - 1)
    if kind == BOOL:
        return st.booleans()
    return texts if kind == STR else texts.map(lambda text: text.encode())


@given(KINDS, st.data())
def test_least_weight_of_a_spelling_is_never_above_the_weight(kind: Type, data: st.DataObject) -> None:
    value = data.draw(values_of(kind, ANY))
    assert 0 < build_least(kind)(build_encoder(kind)(value), 10_000) <= weigher(kind)(value, 10_000)


@given(KINDS, st.data())
def test_least_weight_is_the_weight_where_texts_are_short(kind: Type, data: st.DataObject) -> None:
    value = data.draw(values_of(kind, SHORT))
    weight, least, spelled = weigher(kind)(value, 10_000), build_least(kind), build_encoder(kind)(value)
    assert least(spelled, 10_000) == weight
    for most in range(weight + 1):
        assert (least(spelled, most) > most) == (weight > most)


@given(KINDS, st.binary(max_size=40))
def test_bytes_that_spell_nothing_are_left_to_the_decoder(kind: Type, data: bytes) -> None:
    assert build_least(kind)(data, 100) >= 0
