"""Writes random bodies of functions: every statement of the dialect, in an order that the checker admits."""

from __future__ import annotations

from typing import Final

from tanpo.testing.programs.expressions import ExpressionWriter
from tanpo.testing.programs.kinds import BOOL, INT, NOTHING, STR, Kind
from tanpo.testing.programs.model import Statement

_LINE_MAX: Final = 300
_ATTEMPTS_MAX: Final = 60
"""How often a line is written anew: enough but where what stands around the expression is itself too long."""

_DETAILS_MAX: Final = 150
_BRACKETS_MAX: Final = 14
_OPENING: Final = "([{"
_CLOSING: Final = ")]}"
_CODES: Final = ("LOW", "HIGH", "NOT_YET", "A_B_1")
_CHANGES: Final = {
    "int": ("+", "+", "-", "*", "//", "%", "&", "|", "^", "<<", ">>"),
    "str": ("+",),
    "bytes": ("+",),
}


class StatementWriter(ExpressionWriter):
    """Writes blocks. What a block gives a value is known after it only where every path does."""

    _loops = 0
    _returns: Kind | None = None

    def body(self, size: int, depth: int, returns: Kind) -> list[Statement]:
        """Return the body of a function."""
        self._returns = returns
        written, _ = self.block(size, depth, returns)
        return written

    def block(self, size: int, depth: int, returns: Kind | None = None) -> tuple[list[Statement], bool]:
        """Return a block of about `size` statements, and whether it never runs past its end."""
        mark = self.scope.enter()
        body: list[Statement] = []
        has_ended = False
        while size > 0 and not has_ended:
            size -= 1
            written, has_ended = self._statement(depth)
            body += written
        if returns is not None and not has_ended:
            body.append(self._return(returns))
            has_ended = True
        self.scope.leave(mark)
        return body, has_ended

    def fit(self, head: str, kind: Kind, tail: str = "", depth: int = 2) -> str:
        """Return a line with one expression in it, written anew with less depth where it is too long."""
        if depth and self.random.random() < 0.2:
            depth += 1
        line = f"{head}{self.write(kind, depth)}{tail}"
        for _ in range(_ATTEMPTS_MAX):
            if fits(line):
                break
            depth = max(depth - 1, 0)
            line = f"{head}{self.write(kind, depth)}{tail}"
        return line

    def _statement(self, depth: int) -> tuple[list[Statement], bool]:
        chance = self.random.random()
        if chance < 0.2 and depth > 0:
            return self._if(depth - 1)
        if chance < 0.32 and depth > 0:
            return self._loop(depth - 1)
        if chance < 0.35 and self._loops:
            return [Statement(self.pick(("break", "continue")))], True
        if chance < 0.365:
            return self._grow(), False
        if chance < 0.38:
            return [Statement(f"abort('{self.pick(_CODES)}'{self._details()})")], True
        if chance < 0.40 and self._returns is not None:
            return [self._return(self._returns)], True
        simple = (
            *(self._new, self._new, self._new, self._annotated, self._assign, self._assign, self._change),
            *(self._change, self._unpack, self._field, self._item, self._item, self._delete, self._append),
            *(self._append, self._require, self._call_statement, self._state, self._state, self._state),
            *(self._state_change, self._erase, self._index, self._emit, self._share, self._share),
        )
        written = simple[int(self.random.random() * len(simple))]()
        # Only lines that declare nothing can still be too long.
        return (written if fits(written[-1].line) else []), False

    def _return(self, kind: Kind) -> Statement:
        return Statement("return") if kind is NOTHING else Statement(self.fit("return ", kind))

    # Control.

    def _if(self, depth: int) -> tuple[list[Statement], bool]:
        heads = ["if "]
        heads += ["elif "] * (self.random.randrange(3) if self.random.random() < 0.4 else 0)
        blocks: list[tuple[str, list[Statement]]] = []
        all_ended = True
        for head in heads:
            test = self.fit(head, BOOL, ":", 2)
            body, has_ended = self.block(self.random.randrange(1, 3), depth)
            blocks.append((test, body))
            all_ended = all_ended and has_ended
        if self.random.random() < 0.5:
            body, has_ended = self.block(self.random.randrange(1, 3), depth)
            blocks.append(("else:", body))
            return [Statement("", blocks)], all_ended and has_ended
        return [Statement("", blocks)], False

    def _loop(self, depth: int) -> tuple[list[Statement], bool]:
        return self._for(depth) if self.random.random() < 0.7 else self._while(depth)

    def _for(self, depth: int) -> tuple[list[Statement], bool]:
        name = self.scope.fresh("n")
        while True:
            source, item = self.source(2)
            head = f"for {name} in {source}:"
            if fits(head):
                break
        mark = self.scope.enter()
        self.scope.add(item, name)
        body = self._body(depth)
        self.scope.leave(mark)
        return [Statement("", [(head, body)])], False

    def _while(self, depth: int) -> tuple[list[Statement], bool]:
        """Return a loop that a counter ends, so that it ends on CPython as well."""
        name = self.scope.fresh("w")
        start = Statement(f"{name} = {self.pick(('1', '2', '5'))}")
        if self.random.random() < 0.2:
            head, first = "while True:", [Statement("", [(f"if {name} < 1:", [Statement("break")])])]
        else:
            head, first = self.fit(f"while {name} > 0 and ", BOOL, ":", 1), []
        body = [*first, Statement(f"{name} -= 1"), *self._body(depth)]
        return [start, Statement("", [(head, body)])], False

    def _body(self, depth: int) -> list[Statement]:
        self._loops += 1
        body, _ = self.block(self.random.randrange(1, 4), depth)
        self._loops -= 1
        return body

    # Locals.

    def _new(self) -> list[Statement]:
        kind, name = self.module.draw("any"), self.scope.fresh("v")
        line = self.fit(f"{name} = ", kind)
        self.scope.add(kind, name)
        return [Statement(line)]

    def _annotated(self) -> list[Statement]:
        kind, name = self.module.draw("any"), self.scope.fresh("v")
        empty = {"list": "[]", "dict": "{}"}.get(kind.form)
        if empty and self.random.random() < 0.5:
            line = f"{name}: {kind.text} = {empty}"
        else:
            line = self.fit(f"{name}: {kind.text} = ", kind)
        self.scope.add(kind, name)
        return [Statement(line)]

    def _assign(self) -> list[Statement]:
        kind = self.module.draw("any")
        names = self.scope.names.get(kind)
        return [Statement(self.fit(f"{self.pick(names)} = ", kind))] if names else self._new()

    def _change(self) -> list[Statement]:
        kind = self.module.draw("sum")
        names = self.scope.names.get(kind)
        if not names:
            return self._new()
        return [Statement(self._changed(self.pick(names), kind))]

    def _changed(self, target: str, kind: Kind) -> str:
        operators = _CHANGES[kind.form]
        return self.fit(f"{target} {self.pick(operators)}= ", kind, depth=2)

    def _unpack(self) -> list[Statement]:
        kinds = [kind for kind in self.module.pool.kinds.values() if kind.form == "tuple"]
        if not kinds:
            return self._new()
        kind = kinds[int(self.random.random() * len(kinds))]
        names = [self.scope.fresh("v") for _ in kind.parts]
        line = self.fit(f"{', '.join(names)}{',' if len(names) == 1 else ''} = ", kind)
        for name, part in zip(names, kind.parts, strict=True):
            self.scope.add(part, name)
        return [Statement(line)]

    def _new_of(self, form: str) -> list[Statement]:
        """Return a local of this form, if the contract has such a type."""
        kinds = [kind for kind in self.module.pool.kinds.values() if kind.form == form]
        if not kinds:
            return self._new()
        kind, name = kinds[int(self.random.random() * len(kinds))], self.scope.fresh("v")
        line = self.fit(f"{name} = ", kind, depth=1)
        self.scope.add(kind, name)
        return [Statement(line)]

    def _place(self, form: str) -> tuple[str, Kind] | None:
        """Return a local of this form, or something inside one, that can be changed in place."""
        kinds = [kind for kind in self.module.pool.kinds.values() if kind.form == form]
        chances = [(name, kind) for kind in kinds for name in self.scope.names.get(kind, ())]
        if not chances:
            return None
        name, kind = chances[int(self.random.random() * len(chances))]
        return name, kind

    def _field(self) -> list[Statement]:
        place = self._place("record")
        return self._new_of("record") if place is None else [self._change_inside(*place)]

    def _item(self) -> list[Statement]:
        form = self.pick(("list", "dict"))
        place = self._place(form)
        return self._new_of(form) if place is None else [self._change_inside(*place)]

    def _share(self) -> list[Statement]:
        """Take a value out of another, or out of the state, and change it: who sees that?"""
        kinds = [kind for kind in self.module.pool.kinds.values() if kind.form in ("list", "dict", "record")]
        kind, name = kinds[int(self.random.random() * len(kinds))], self.scope.fresh("v")
        taken = Statement(f"{name} = {self.take(kind, 1)}")
        self.scope.add(kind, name)
        changed = self._change_inside(name, kind)
        return [taken, changed] if fits(taken.line) and fits(changed.line) else self._unused(kind)

    def _unused(self, kind: Kind) -> list[Statement]:
        self.scope.drop(kind)
        return [Statement("pass")]

    def _change_inside(self, name: str, kind: Kind) -> Statement:
        """Return a change of a field or item of a local."""
        if kind.form == "record":
            field, part = kind.fields[int(self.random.random() * len(kind.fields))]
            place = f"{name}.{field}"
        else:
            part = kind.parts[-1]
            key = self.key(kind.parts[0], 1) if kind.form == "dict" else self.place(1)
            place = f"{name}[{key}]"
        if part.form in _CHANGES and self.random.random() < 0.4:
            return Statement(self._changed(place, part))
        if kind.form == "list" and self.random.random() < 0.4:
            return Statement(self.fit(f"{name}.append(", part, ")", 1))
        return Statement(self.fit(f"{place} = ", part, depth=1))

    def _grow(self) -> list[Statement]:
        """Double a value until it reaches the limits on sizes, or nearly."""
        kind = self.module.draw("sized")
        names = self.scope.names.get(kind)
        if not names or kind.form == "dict":
            return self._new()
        name, turns = self.pick(names), self.pick(("3", "11", "12", "12", "13"))
        head = f"for {self.scope.fresh('n')} in range({turns}):"
        grown = Statement("", [(head, [Statement(f"{name} = {name} + {name}")])])
        last = f"{name}.append({name}[0])" if kind.form == "list" else f"{name} += {self.leaf(kind)}"
        return [grown, Statement(last)]

    def _delete(self) -> list[Statement]:
        place = self._place("dict")
        if place is None:
            return self._new_of("dict")
        return [Statement(f"del {place[0]}[{self.key(place[1].parts[0], 1)}]")]

    def _append(self) -> list[Statement]:
        place = self._place("list")
        if place is None:
            return self._new_of("list")
        return [Statement(self.fit(f"{place[0]}.append(", place[1].parts[0], ")"))]

    # Calls, failures, events.

    def _require(self) -> list[Statement]:
        return [Statement(self.fit("require(", BOOL, f", '{self.pick(_CODES)}'{self._details()})", 2))]

    def _details(self) -> str:
        if self.random.random() < 0.4:
            return ""
        details = f", a={self.write(INT, 1)}, z={self.write(STR, 1)}"
        return details if len(details) < _DETAILS_MAX else ""

    def _call_statement(self) -> list[Statement]:
        calls = [
            one for ones in self.module.calls.values() for one in ones if self.may_write or not one.writes
        ]
        if not calls:
            return self._require()
        chosen = calls[int(self.random.random() * len(calls))]
        return [Statement(f"{chosen.name}({self.arguments(chosen.parameters, 1)})")]

    def _emit(self) -> list[Statement]:
        events = self.module.events
        if not self.may_write or not events:
            return self._require()
        name, fields = events[int(self.random.random() * len(events))]
        given = [f"{field}={self.write(kind, 1)}" for field, kind in fields]
        if self.random.random() < 0.5:
            given.reverse()
        return [Statement(", ".join([f"emit('{name}'", *given]) + ")")]

    # State.

    def _state(self) -> list[Statement]:
        module = self.module
        if not self.may_write:
            return self._new()
        if module.maps and self.random.random() < 0.6:
            name, key, value = module.maps[int(self.random.random() * len(module.maps))]
            return [Statement(self.fit(f"{name}[{self.key(key, 1)}] = ", value, depth=2))]
        if module.variables:
            name, kind = module.variables[int(self.random.random() * len(module.variables))]
            return [Statement(self.fit(f"{name} = ", kind))]
        return self._new()

    def _state_change(self) -> list[Statement]:
        module = self.module
        places = [(name, kind) for name, kind in module.variables if kind.form in _CHANGES]
        places += [
            (f"{name}[{self.key(key, 1)}]", value)
            for name, key, value in module.maps
            if value.form in _CHANGES
        ]
        if not self.may_write or not places:
            return self._change()
        return [Statement(self._changed(*places[int(self.random.random() * len(places))]))]

    def _erase(self) -> list[Statement]:
        if not self.may_write or not self.module.maps:
            return self._delete()
        name, key, _ = self.module.maps[int(self.random.random() * len(self.module.maps))]
        return [Statement(f"del {name}[{self.key(key, 1)}]")]

    def _index(self) -> list[Statement]:
        if not self.may_write or not self.module.indexes:
            return self._append()
        name, group, member = self.module.indexes[0]
        method = self.pick(("add", "add", "add", "remove"))
        return [Statement(f"{name}.{method}({self.key(group, 1)}, {self.key(member, 1)})")]


def fits(line: str) -> bool:
    """Tell whether a line is inside the limits on its length and its brackets."""
    if len(line) > _LINE_MAX:
        return False
    depth = deepest = 0
    for character in line:
        if character in _OPENING:
            depth += 1
            deepest = max(deepest, depth)
        elif character in _CLOSING:
            depth -= 1
    return deepest <= _BRACKETS_MAX
