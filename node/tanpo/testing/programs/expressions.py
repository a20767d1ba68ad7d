"""Writes random expressions of a wanted type."""

from __future__ import annotations

from random import Random
from typing import Final

from tanpo.testing.programs.kinds import BOOL, BYTES, INT, STR, Kind
from tanpo.testing.programs.scope import Module, Scope
from tanpo.vm.calls import ROUNDING_MODES

_NUMBERS: Final = (
    *("0", "0", "1", "1", "2", "2", "3", "4", "5", "7", "10", "12", "33", "99", "(-1)", "(-1)", "(-2)"),
    *("100", "255", "256", "1_000", "0xff", "4096", str(2**61 - 2), str(2**61 - 1), f"(-{2**61})"),
    *(str(2**255 - 1), f"(-{2**255 - 1})", str(2**254)),
)
_TEXTS: Final = (
    *("''", "''", "'a'", "'a'", "'b'", "'ab'", "'ba'", "'12'", "'-7'", "'0'", "'+1'", "'k1'", "'a-b'"),
    *("'\\xe9'", "'\\n\\''", '"q"', f"'{'long' * 12}'", f"'{'ab' * 80}'"),
)
_BYTES: Final = ("b''", "b'a'", "b'ab'", "b'\\x00'", "b'\\xff\\x01'", f"b'{'z' * 40}'")
_ARITHMETIC: Final = ("+", "+", "-", "-", "*", "*", "//", "//", "%", "%", "&", "|", "^", "<<", ">>")
_ORDER: Final = ("<", "<=", ">", ">=", "==", "!=")
_KEYS: Final = {"str": ("'a'", "'a'", "'b'"), "int": ("0", "0", "1", "(-1)"), "bytes": ("b'a'", "b''")}
"""Keys that many places use, so that what was written is found again."""

_DECIMALS: Final = ("'12'", "'-7'", "'0'", "'007'", "str(ctx.time)")
_WORDS: Final = ("a", "b", "c d", "e", "-", "_", "/", ":")


class ExpressionWriter:
    """Writes expressions from what a scope offers; `depth` bounds how far they nest."""

    def __init__(self, random: Random, module: Module) -> None:
        self.random = random
        self.module = module
        self.scope = Scope()
        self.may_write = False
        self._in_comprehension = False
        self._methods = {
            "int": (
                *(
                    self._arithmetic,
                    self._arithmetic,
                    self._arithmetic,
                    self._minus,
                    self._least,
                    self._length,
                ),
                *(self._length, self._ratio, self._parse, self._find, self._byte, self._clock),
            ),
            "bool": (
                *(
                    self._chain,
                    self._chain,
                    self._same,
                    self._order,
                    self._logic,
                    self._logic,
                    self._negation,
                ),
                *(self._member, self._member, self._in_state, self._edges, self._signed),
            ),
            "str": (
                *(self._sum, self._character, self._cut, self._format, self._format, self._spell, self._join),
                *(self._sender, self._spell, self._hex),
            ),
            "bytes": (self._sum, self._cut, self._digest, self._digest, self._encoded, self._transaction),
            "list": (
                *(self._display, self._display, self._sum, self._cut, self._sort, self._comprehension),
                *(self._comprehension, self._page),
            ),
            "dict": (self._pairs,),
            "tuple": (self._row,),
            "record": (self._record,),
        }

    def restart(self, *, may_write: bool) -> None:
        """Begin another function."""
        self.scope = Scope()
        self.may_write = may_write

    def pick(self, items: tuple[str, ...] | list[str]) -> str:
        """Return one of the items."""
        return items[int(self.random.random() * len(items))]

    def write(self, kind: Kind, depth: int) -> str:
        """Return an expression of this type."""
        chance = self.random.random()
        if depth <= 0 or chance < 0.3:
            return self.leaf(kind)
        if chance < 0.55:
            return self.take(kind, depth - 1)
        methods = self._methods[kind.form]
        return methods[int(self.random.random() * len(methods))](kind, depth - 1)

    def leaf(self, kind: Kind) -> str:
        """Return an expression that nests as little as its type allows."""
        names = self.scope.names.get(kind)
        if names and self.random.random() < 0.75:
            return self.pick(names)
        constants = self.module.constants.get(kind)
        if constants and self.random.random() < 0.3:
            return self.pick(constants)
        if kind is INT:
            return self.pick(_NUMBERS)
        if kind is STR:
            return self.pick(_TEXTS)
        if kind is BOOL:
            return self.pick(("True", "False"))
        if kind is BYTES:
            return self.pick(_BYTES)
        return self._make_leaf(kind)

    def arguments(self, parameters: tuple[tuple[str, Kind], ...], depth: int) -> str:
        """Return arguments: by position, then by name; in another order only where that is not plain."""
        given = [self.write(kind, depth) for _, kind in parameters]
        if not given or self.random.random() < 0.7:
            return ", ".join(given)
        first = self.random.randrange(len(given))
        named = [f"{name}={text}" for (name, _), text in zip(parameters[first:], given[first:], strict=True)]
        if len(named) > 1 and self.random.random() < 0.3:
            # The dialect evaluates by the order of parameters, Python by the order written.
            named.reverse()
            self.module.is_plain = False
        return ", ".join([*given[:first], *named])

    def key(self, kind: Kind, depth: int) -> str:
        """Return a key: more often than not one that other places use as well."""
        common = _KEYS.get(kind.form)
        if common and self.random.random() < 0.75:
            return self.pick(common)
        return self.write(kind, depth)

    def place(self, depth: int) -> str:
        """Return an index: more often than not one that a short list has."""
        return (
            self.pick(("0", "0", "0", "-1", "1")) if self.random.random() < 0.75 else self.write(INT, depth)
        )

    def _make_leaf(self, kind: Kind) -> str:
        if kind.form == "list":
            return f"[{self.leaf(kind.parts[0])}]"
        if kind.form == "dict":
            return f"{{{self.leaf(kind.parts[0])}: {self.leaf(kind.parts[1])}}}"
        parts = ", ".join(self.leaf(part) for part in kind.parts)
        return f"({parts},)" if kind.form == "tuple" else f"{kind.text}({parts})"

    def take(self, kind: Kind, depth: int) -> str:
        """Return something that gives this type out of another: an item, a field, state, a call."""
        sources = self.module.sources.get(kind)
        if not sources or self.random.random() < 0.15:
            return self._choose(kind, depth)
        form, holder, detail = sources[int(self.random.random() * len(sources))]
        match form:
            case "item":
                return f"{self.write(holder, depth)}[{self.place(depth - 1)}]"
            case "pop":
                names = self.scope.names.get(holder)
                return f"{self.pick(names)}.pop()" if names else self.leaf(kind)
            case "value":
                return f"{self.write(holder, depth)}[{self.key(holder.parts[0], depth - 1)}]"
            case "get":
                key = self.key(holder.parts[0], depth - 1)
                return f"{self.write(holder, depth)}.get({key}, {self.write(kind, depth - 1)})"
            case "part":
                return f"{self.write(holder, depth)}{detail}"
            case "variable":
                return detail
            case "map":
                return f"{detail}[{self.key(holder, depth)}]"
            case "find":
                return f"{detail}.get({self.key(holder, depth)}, {self.write(kind, depth - 1)})"
        return self._call(kind, depth)

    def _call(self, kind: Kind, depth: int) -> str:
        calls = [one for one in self.module.calls.get(kind, ()) if self.may_write or not one.writes]
        if not calls:
            return self.leaf(kind)
        chosen = calls[int(self.random.random() * len(calls))]
        return f"{chosen.name}({self.arguments(chosen.parameters, depth - 1)})"

    def _choose(self, kind: Kind, depth: int) -> str:
        test = self.write(BOOL, depth)
        return f"({self.write(kind, depth)} if {test} else {self.write(kind, depth)})"

    # Integers.

    def _arithmetic(self, _: Kind, depth: int) -> str:
        operator = self.pick(_ARITHMETIC)
        left = self.write(INT, depth)
        if operator in ("<<", ">>") and self.random.random() < 0.8:
            return f"({left} {operator} {self.pick(('0', '1', '3', '8', '70', '255', '256'))})"
        return f"({left} {operator} {self.write(INT, depth)})"

    def _minus(self, _: Kind, depth: int) -> str:
        inner = self.write(INT, depth)
        return f"(-{inner})" if self.random.random() < 0.5 else f"abs({inner})"

    def _least(self, _: Kind, depth: int) -> str:
        count = self.random.randrange(2, 4)
        return f"{self.pick(('min', 'max'))}({', '.join([self.write(INT, depth) for _ in range(count)])})"

    def _length(self, _: Kind, depth: int) -> str:
        return f"len({self.write(self.module.draw('sized'), depth)})"

    def _ratio(self, _: Kind, depth: int) -> str:
        mode = self.pick(ROUNDING_MODES)
        if self.random.random() < 0.5:
            return f"div_round({self.write(INT, depth)}, {self.write(INT, depth)}, '{mode}')"
        parts = ", ".join([self.write(INT, depth) for _ in range(3)])
        return f"mul_div({parts}, '{mode}')"

    def _parse(self, _: Kind, depth: int) -> str:
        if self.random.random() < 0.6:
            return f"int({self.pick(_DECIMALS)})"
        return f"int({self.write(STR, depth)})"

    def _find(self, _: Kind, depth: int) -> str:
        return f"{self.write(STR, depth)}.find({self.write(STR, depth)})"

    def _byte(self, _: Kind, depth: int) -> str:
        return f"{self.write(BYTES, depth)}[{self.place(depth)}]"

    def _clock(self, _: Kind, __: int) -> str:
        return self.pick(("ctx.time", "ctx.height"))

    # Conditions.

    def _chain(self, _: Kind, depth: int) -> str:
        text = self.write(INT, depth)
        for _step in range(1 if self.random.random() < 0.7 else 2):
            text += f" {self.pick(_ORDER)} {self.write(INT, depth)}"
        return f"({text})"

    def _same(self, _: Kind, depth: int) -> str:
        kind = self.module.draw("any")
        return f"({self.write(kind, depth)} {self.pick(('==', '!='))} {self.write(kind, depth)})"

    def _order(self, _: Kind, depth: int) -> str:
        kind = self.module.draw("ordered")
        return f"({self.write(kind, depth)} {self.pick(_ORDER)} {self.write(kind, depth)})"

    def _logic(self, _: Kind, depth: int) -> str:
        word = self.pick((" and ", " or "))
        count = 2 if self.random.random() < 0.8 else 3
        return f"({word.join([self.write(BOOL, depth) for _ in range(count)])})"

    def _negation(self, _: Kind, depth: int) -> str:
        return f"(not {self.write(BOOL, depth)})"

    def _member(self, _: Kind, depth: int) -> str:
        holder = self.module.draw("holder")
        sought = holder.parts[0] if holder.parts else holder
        word = self.pick(("in", "in", "not in"))
        return f"({self.write(sought, depth)} {word} {self.write(holder, depth)})"

    def _in_state(self, kind: Kind, depth: int) -> str:
        module = self.module
        if module.maps and self.random.random() < 0.5:
            name, key, _ = module.maps[int(self.random.random() * len(module.maps))]
            return f"({self.key(key, depth)} in {name})"
        if module.indexes:
            name, group, member = module.indexes[0]
            return f"{name}.contains({self.key(group, depth)}, {self.key(member, depth)})"
        return self._chain(kind, depth)

    def _edges(self, _: Kind, depth: int) -> str:
        method = self.pick(("startswith", "endswith"))
        return f"{self.write(STR, depth)}.{method}({self.write(STR, depth)})"

    # Text and bytes.

    def _sum(self, kind: Kind, depth: int) -> str:
        return f"({self.write(kind, depth)} + {self.write(kind, depth)})"

    def _character(self, _: Kind, depth: int) -> str:
        return f"{self.write(STR, depth)}[{self.place(depth)}]"

    def _cut(self, kind: Kind, depth: int) -> str:
        start = self.write(INT, depth - 1) if self.random.random() < 0.6 else ""
        stop = self.write(INT, depth - 1) if self.random.random() < 0.6 else ""
        return f"{self.write(kind, depth)}[{start}:{stop}]"

    def _format(self, _: Kind, __: int) -> str:
        names = [*self.scope.names.get(STR, ()), *self.scope.names.get(INT, ())]
        words = "".join([self.pick(_WORDS) for _ in range(self.random.randrange(4))])
        inner = "".join([f"{{{self.pick(names)}}}" for _ in range(self.random.randrange(3))]) if names else ""
        return f"f'{words}{inner}'"

    def _spell(self, _: Kind, depth: int) -> str:
        return f"str({self.write(INT, depth)})"

    def _join(self, _: Kind, depth: int) -> str:
        return f"{self.write(STR, depth - 1)}.join({self.write(self.module.pool.make_list(STR), depth)})"

    def _sender(self, _: Kind, __: int) -> str:
        return self.pick(("ctx.sender", "ctx.contract"))

    def _digest(self, _: Kind, depth: int) -> str:
        return f"{self.pick(('sha256', 'sha256', 'sha512', 'sha3_256'))}({self.write(BYTES, depth)})"

    def _encoded(self, _: Kind, depth: int) -> str:
        return f"{self.write(STR, depth)}.encode()"

    def _hex(self, _: Kind, depth: int) -> str:
        return f"{self.write(BYTES, depth)}.hex()"

    def _signed(self, _: Kind, depth: int) -> str:
        return f"verify_p256({', '.join([self.write(BYTES, depth) for _ in range(3)])})"

    def _transaction(self, _: Kind, __: int) -> str:
        return "ctx.tx_id"

    # Containers.

    def _display(self, kind: Kind, depth: int) -> str:
        count = self.random.randrange(1, 4)
        return f"[{', '.join([self.write(kind.parts[0], depth) for _ in range(count)])}]"

    def _sort(self, kind: Kind, depth: int) -> str:
        item = kind.parts[0]
        keyed = [one for one in self.module.pool.kinds.values() if one.key is item]
        if not item.is_ordered:
            return self._display(kind, depth)
        source = keyed[0] if keyed and self.random.random() < 0.5 else kind
        return f"sorted({self.write(source, depth)})"

    def _comprehension(self, kind: Kind, depth: int) -> str:
        if self._in_comprehension:
            return self.leaf(kind)
        self._in_comprehension = True
        source, item = self.source(depth)
        name, mark = self.scope.fresh("i"), self.scope.enter()
        self.scope.add(item, name)
        element = self.write(kind.parts[0], depth)
        test = f" if {self.write(BOOL, depth)}" if self.random.random() < 0.5 else ""
        self._in_comprehension = False
        self.scope.leave(mark)
        return f"[{element} for {name} in {source}{test}]"

    def source(self, depth: int) -> tuple[str, Kind]:
        """Return what a loop may run over, and the type of its items."""
        if self.random.random() < 0.4:
            stop = self.pick(("0", "1", "3", "4")) if self.random.random() < 0.7 else f"len({self.leaf(STR)})"
            start = "" if self.random.random() < 0.6 else self.pick(("-1, ", "1, ", "2, "))
            return f"range({start}{stop})", INT
        holder = self.module.draw("holder")
        item = {"str": STR, "bytes": INT}.get(holder.form) or holder.parts[0]
        return self.write(holder, depth), item

    def _page(self, kind: Kind, depth: int) -> str:
        for name, group, member in self.module.indexes:
            if member is kind.parts[0]:
                is_usual = self.random.random() < 0.8
                limit = self.pick(("1", "2", "5", "100")) if is_usual else self.write(INT, depth)
                if self.random.random() < 0.5:
                    return f"{name}.first({self.key(group, depth)}, {limit})"
                return f"{name}.page({self.key(group, depth)}, {self.key(member, depth)}, {limit})"
        if kind.parts[0] is STR and self.random.random() < 0.5:
            return "ctx.signers"
        return self._display(kind, depth)

    def _pairs(self, kind: Kind, depth: int) -> str:
        key, value = kind.parts
        count = self.random.randrange(1, 3)
        pairs = [f"{self.key(key, depth)}: {self.write(value, depth)}" for _ in range(count)]
        return f"{{{', '.join(pairs)}}}"

    def _row(self, kind: Kind, depth: int) -> str:
        return f"({', '.join([self.write(part, depth) for part in kind.parts])},)"

    def _record(self, kind: Kind, depth: int) -> str:
        return f"{kind.text}({self.arguments(kind.fields, depth)})"
