"""Writes expressions as Python text: one template per operation, operands in order."""

from __future__ import annotations

from typing import Final

from tanpo.ledger.errors import InvariantViolation
from tanpo.vm import ir
from tanpo.vm.types import INT, DictOf, ListOf, Record, Type, is_mutable

_TEMPLATES: Final[dict[str, str]] = {
    "int.div": "({} // {})",
    "int.mod": "({} % {})",
    "int.shl": "h_shl({}, {})",
    "int.shr": "h_shr({}, {})",
    "int.neg": "(-{})",
    "int.abs": "h_b_abs({})",
    "bool.not": "(not {})",
    "choose": "({1} if {0} else {2})",
    "item.str": "{}[{}]",
    "item.bytes": "{}[{}]",
    "item.list": "{}[{}]",
    "item.dict": "h_item_key({}, {})",
    "probe": "h_probe({})",
    "contains.str": "h_has_str({}, {})",
    "contains.bytes": "h_has_bytes({}, {})",
    "contains.dict": "({} in {})",
    "concat.str": "h_cat_str({}, {})",
    "concat.bytes": "h_cat_bytes({}, {})",
    "concat.list": "h_cat_list({}, {})",
    "len": "h_b_len({})",
    "str.int": "h_b_str({})",
    "int.parse": "h_parse({})",
    "str.find": "h_find({}, {})",
    "str.startswith": "h_starts({}, {})",
    "str.endswith": "h_ends({}, {})",
    "str.join": "h_join({}, {})",
    "str.encode": "h_encode({})",
    "bytes.hex": "h_hex({})",
    "sha256": "h_sha256({})",
    "sha512": "h_sha512({})",
    "sha3_256": "h_sha3_256({})",
    "verify_p256": "h_verify_p256({}, {}, {})",
    "list.append": "h_append({}, {})",
    "list.pop": "h_pop({})",
    "dict.get": "{}.get({}, {})",
    "ctx.signers": "c_signers",
}
"""Operations whose text is their operands in a fixed frame."""

CHECKS_INLINE_MAX: Final = 4_000
"""How many results of arithmetic are checked in place. CPython takes some 25 microseconds to compile one of
these and a third of that for a call, and a source of nothing but sums holds 30,000."""

_CHECKED: Final = {
    "int.add": "+",
    "int.sub": "-",
    "int.mul": "*",
    "int.and": "&",
    "int.or": "|",
    "int.xor": "^",
}
_STATE: Final = {
    "state.get": "get",
    "state.find": "find",
    "state.has": "has",
    "index.add": "add",
    "index.remove": "remove",
    "index.contains": "contains",
    "index.page": "page",
    "index.first": "first",
}


def literal_text(value: object) -> str:
    """Return a checked literal as Python text."""
    if type(value) in (bool, str, bytes):
        return repr(value)
    if type(value) is int:
        return repr(value) if value >= 0 else f"({value!r})"
    if type(value) is tuple:
        return f"({''.join(literal_text(part) + ', ' for part in value)})"
    raise InvariantViolation(f"a literal of type {type(value).__name__} reached the generator")


class ExpressionText:
    """Writes the expressions of one contract, and notes the typed helpers and shared constants they need."""

    def __init__(self, unit: ir.Unit) -> None:
        self.needs: dict[tuple[str, Type], str] = {}
        self.shared: dict[str, str] = {}
        self._constants: dict[str, str] = {}
        self._contract = unit.contract
        self._imports: dict[object, int] = {
            (handle, function): place for place, (handle, _, function) in enumerate(unit.imports)
        }
        self._in_source = False
        self._checks = 0

    def _copy_text(self, kind: Type, text: str) -> str:
        match kind:
            case Record(fields=fields) if not any(is_mutable(part) for _, part in fields):
                return f"{text}[:]"
            case ListOf(item=item) if not is_mutable(item):
                return f"{text}[:]"
        return f"{self._need('copy', kind)}({text})"

    def _need(self, purpose: str, kind: Type) -> str:
        return self.needs.setdefault((purpose, kind), f"k_{len(self.needs)}")

    def text(self, node: ir.Expr) -> str:
        """Return the text of an expression."""
        match node:
            case ir.Const(name=""):
                return literal_text(node.value)
            case ir.Const():
                return self._constant_text(node)
            case ir.Local(name=name):
                return f"v_{name}"
            case ir.Comprehension():
                return self._comprehension_text(node)
            case ir.Op():
                return self._op_text(node, [self.text(part) for part in node.args])

    def _constant_text(self, node: ir.Const) -> str:
        if node.name not in self._constants:
            self._constants[node.name] = self._share(node.value)
        return self._constants[node.name]

    def _share(self, value: object) -> str:
        """Return the text of a constant: written out once, however often and deep in others it is used."""
        if type(value) is tuple:
            text = f"({''.join(self._share(part) + ', ' for part in value)})"
        else:
            text = literal_text(value)
            if not isinstance(value, str | bytes):
                return text
        return self.shared.setdefault(text, f"l_{len(self.shared)}")

    def _comprehension_text(self, node: ir.Comprehension) -> str:
        source = self.source(node.source, node.cost)
        test = "" if node.test is None else f" if {self.text(node.test)}"
        return f"h_bounded([{self.text(node.element)} for v_{node.variable} in {source}{test}])"

    def _op_text(self, node: ir.Op, args: list[str]) -> str:
        op = node.op
        if op in _TEMPLATES:
            return _TEMPLATES[op].format(*args)
        if op in _CHECKED:
            return self._checked_text(f"{args[0]} {_CHECKED[op]} {args[1]}")
        if op in _STATE:
            return f"s_{_STATE[op]}_{node.detail}({', '.join(args)})"
        family = op.partition(".")[0]
        if family == "make":
            return self._display_text(node, args)
        if family in ("call", "sort", "contains", "same", "order", "copy", "pass", "keep"):
            return self._helper_text(node, args)
        return self._other_text(node, args)

    def _checked_text(self, text: str) -> str:
        self._checks += 1
        if self._in_source or self._checks > CHECKS_INLINE_MAX:
            # The iterable of a comprehension admits no assignment, so there a helper looks at the result.
            return f"h_checked({text})"
        return f"(t if LO <= (t := {text}) <= HI else h_ovf())"

    def _display_text(self, node: ir.Op, args: list[str]) -> str:
        items = "".join(f"{part}, " for part in args)
        if node.op == "make.tuple":
            return f"({items})"
        if node.op != "make.dict":
            return f"[{items}]"
        keys = [self.dict_key(part) for part in node.args[::2]]
        return f"{{{', '.join(f'{key}: {value}' for key, value in zip(keys, args[1::2], strict=True))}}}"

    def dict_key(self, key: ir.Expr) -> str:
        """Return the text of a key that enters a dict; integers are checked against crafted collisions."""
        text = self.text(key)
        return f"h_key_int({text})" if key.type == INT else text

    def _helper_text(self, node: ir.Op, args: list[str]) -> str:
        listed = ", ".join(args)
        kind = node.args[0].type if node.args else node.type
        match node.op:
            case "call":
                return f"f_{node.detail}({listed})"
            case "call.cross":
                return f"x_{self._imports[node.detail]}({listed})"
            case "copy":
                return self._copy_text(kind, listed)
            case "pass" | "keep":
                return f"{self._need(node.op, kind)}({listed})"
            case "sort.list":
                return f"{self._need('sort', kind)}({listed})"
            case "sort.dict" if isinstance(kind, DictOf):
                return f"{self._need('sort_keys', kind.key)}({listed})"
            case "contains.list":
                return f"{self._need('contains', kind)}({listed})"
            case "same":
                call = f"{self._need('same', kind)}({listed})"
                return call if node.detail == "==" else f"(not {call})"
        return self._order_text(str(node.detail), kind, args)

    def _order_text(self, operator: str, kind: Type, args: list[str]) -> str:
        """Return an ordering of text or tuples; `a > b` is `not a <= b`, so operands keep their order."""
        purpose, negated = {
            "<": ("less", False),
            "<=": ("less_or_same", False),
            ">": ("less_or_same", True),
            ">=": ("less", True),
        }[operator]
        call = f"{self._need(purpose, kind)}({', '.join(args)})"
        return f"(not {call})" if negated else call

    def _other_text(self, node: ir.Op, args: list[str]) -> str:
        match node.op:
            case "compare":
                operators = node.detail if isinstance(node.detail, tuple) else ()
                rest = "".join(f" {op} {arg}" for op, arg in zip(operators, args[1:], strict=True))
                return f"({args[0]}{rest})"
            case "bool.and":
                return f"({' and '.join(args)})"
            case "bool.or":
                return f"({' or '.join(args)})"
            case "field":
                return f"{args[0]}[{node.detail}]"
            case "slice":
                given = node.detail if isinstance(node.detail, tuple) else (False, False)
                bounds = iter(args[1:])
                start, stop = [next(bounds) if is_given else "None" for is_given in given]
                return f"h_cut({args[0]}, {start}, {stop})"
            case "format":
                return f"h_join_parts(({''.join(part + ', ' for part in args)}))"
            case "int.min" | "int.max":
                return f"h_b_{node.op[4:]}({', '.join(args)})"
            case "mul_div" | "div_round":
                return f"h_{node.op}({', '.join(args)}, {literal_text(node.detail)})"
            case "ctx":
                return literal_text(self._contract) if node.detail == "contract" else f"c_{node.detail}"
        raise InvariantViolation(f"no text for {node.op}")

    def source(self, source: ir.Expr, prepaid: int | None) -> str:
        """Return what a loop runs over; a comprehension pays for all its turns here."""
        outer, self._in_source = self._in_source, self._in_source or prepaid is not None
        if isinstance(source, ir.Op) and source.op == "range":
            bounds = ", ".join(self.text(part) for part in source.args)
            text = f"h_b_range({bounds})" if prepaid is None else f"h_prepay_range({prepaid}, {bounds})"
        else:
            items = self.text(source)
            text = items if prepaid is None else f"h_prepay({prepaid}, {items})"
        self._in_source = outer
        return text
