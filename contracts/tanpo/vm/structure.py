"""The second gate: only whitelisted syntax passes, and each refused construct is named with its remedy."""

from __future__ import annotations

import ast
from typing import Final, NamedTuple

from tanpo.vm.advice import CONSTRUCTS, MODULES
from tanpo.vm.faults import FaultLog
from tanpo.vm.limits import EXPRESSION_DEPTH_MAX, STATEMENT_DEPTH_MAX

REFUSED: Final[dict[str, tuple[str, str]]] = {
    "Import": ("IMPORT", "import"),
    "ImportFrom": ("IMPORT", "import"),
    "Lambda": ("LAMBDA", "lambda"),
    "Yield": ("GENERATOR", "yield"),
    "YieldFrom": ("GENERATOR", "yield from"),
    "GeneratorExp": ("GENERATOR", "generator expression"),
    "Try": ("TRY", "try"),
    "TryStar": ("TRY", "except*"),
    "Raise": ("RAISE", "raise"),
    "Assert": ("ASSERT", "assert"),
    "Set": ("SET", "set"),
    "SetComp": ("SET", "set comprehension"),
    "DictComp": ("COMPREHENSION", "dict comprehension"),
    "Pow": ("POWER", "**"),
    "Div": ("DIVISION", "/"),
    "MatMult": ("DIVISION", "@"),
    "Invert": ("OPERATOR", "~"),
    "UAdd": ("OPERATOR", "unary +"),
    "NamedExpr": ("WALRUS", ":="),
    "Match": ("MATCH", "match"),
    "Starred": ("STAR", "* form"),
    "AsyncFunctionDef": ("CONSTRUCT", "async def"),
    "AsyncFor": ("CONSTRUCT", "async for"),
    "AsyncWith": ("CONSTRUCT", "async with"),
    "Await": ("CONSTRUCT", "await"),
    "With": ("CONSTRUCT", "with"),
    "Global": ("CONSTRUCT", "global"),
    "Nonlocal": ("CONSTRUCT", "nonlocal"),
}
"""Refused by the name of the syntax node: the fault and how the construct is written."""

_ALLOWED: Final = frozenset(
    [
        # parts of what is refused as a whole
        "ExceptHandler",
        "alias",
        "withitem",
        "match_case",
        "MatchValue",
        "MatchSingleton",
        "MatchSequence",
        "MatchMapping",
        "MatchClass",
        "MatchStar",
        "MatchAs",
        "MatchOr",
        # the dialect
        "Module",
        "FunctionDef",
        "ClassDef",
        "arguments",
        "arg",
        "keyword",
        "Return",
        "Delete",
        "Assign",
        "AugAssign",
        "AnnAssign",
        "For",
        "While",
        "If",
        "Expr",
        "Pass",
        "Break",
        "Continue",
        "BoolOp",
        "BinOp",
        "UnaryOp",
        "IfExp",
        "Dict",
        "List",
        "Tuple",
        "ListComp",
        "comprehension",
        "Compare",
        "Call",
        "JoinedStr",
        "FormattedValue",
        "Constant",
        "Attribute",
        "Subscript",
        "Name",
        "Slice",
        "Load",
        "Store",
        "Del",
        "And",
        "Or",
        "Add",
        "Sub",
        "Mult",
        "Mod",
        "LShift",
        "RShift",
        "BitOr",
        "BitXor",
        "BitAnd",
        "FloorDiv",
        "Not",
        "USub",
        "Eq",
        "NotEq",
        "Lt",
        "LtE",
        "Gt",
        "GtE",
        "In",
        "NotIn",
        # refused with what they compare
        "Is",
        "IsNot",
    ]
)


class _Surroundings(NamedTuple):
    """Where a node stands: how deep in expressions and statements, and inside what."""

    place: tuple[int, int] = (1, 0)
    expressions: int = 0
    statements: int = 0
    in_declaration: bool = False
    in_comprehension: bool = False


class _Kind(NamedTuple):
    """What there is to know of a kind of node: 64 KB of source make a hundred thousand of them.

    `parts` are the fields that may hold nodes; whether a name is read or written has nothing to check. A
    plain one has no parts and no rule, and nothing can be wrong with it but how deep it stands.
    """

    is_expression: bool
    is_statement: bool
    has_place: bool
    is_inside: bool
    has_rule: bool
    is_plain: bool
    parts: tuple[str, ...]


def _describe(kind: type[ast.AST]) -> _Kind:
    is_leaf = issubclass(kind, ast.Name | ast.Constant)
    parts = () if is_leaf else tuple(field for field in kind._fields if field != "ctx")
    has_rule = kind.__name__ not in _ALLOWED or issubclass(kind, _RULED)
    return _Kind(
        is_expression=issubclass(kind, ast.expr),
        is_statement=issubclass(kind, ast.stmt),
        has_place=issubclass(kind, ast.stmt | ast.expr | ast.arg | ast.keyword),
        is_inside=issubclass(kind, ast.expr | ast.comprehension),
        has_rule=has_rule,
        is_plain=not (parts or has_rule or issubclass(kind, ast.stmt)),
        parts=parts,
    )


_RULED: Final = (
    ast.FunctionDef,
    ast.ClassDef,
    ast.ListComp,
    ast.Constant,
    ast.keyword,
    ast.arguments,
    ast.GeneratorExp,
    ast.Compare,
    ast.For,
    ast.AsyncFor,
    ast.While,
    ast.Assign,
    ast.Slice,
    ast.FormattedValue,
)
"""Allowed, but not in every shape: what `_check_node` looks into."""

_DECLARATIONS: Final = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_COMPREHENSIONS: Final = (ast.ListComp, ast.GeneratorExp, ast.SetComp, ast.DictComp)

_KINDS: Final[dict[type[ast.AST], _Kind]] = {
    kind: _describe(kind)
    for kind in vars(ast).values()
    if isinstance(kind, type) and issubclass(kind, ast.AST)
}


def check_structure(tree: ast.Module, faults: FaultLog) -> bool:
    """Note every construct outside the dialect. Return whether the tree is shallow enough to go on."""
    shallow = True
    pending: list[tuple[ast.AST, _Surroundings]] = [(tree, _Surroundings())]
    while pending:
        node, outer = pending.pop()
        kind = _KINDS[type(node)]
        if kind.is_plain and outer.expressions < EXPRESSION_DEPTH_MAX:
            continue
        inner = _enter(node, kind, outer)
        if not _check_depth(inner, faults):
            shallow = False
        elif not kind.has_rule or _check_node(node, inner.place, outer, faults):
            for field in kind.parts:
                part = getattr(node, field, None)
                if isinstance(part, list):
                    pending += [(child, inner) for child in part if isinstance(child, ast.AST)]
                elif isinstance(part, ast.AST) and not (field == "returns" and _is_none(part)):
                    pending.append((part, inner))
    return shallow


def _enter(node: ast.AST, kind: _Kind, outer: _Surroundings) -> _Surroundings:
    place, expressions, statements, in_declaration, in_comprehension = outer
    return _Surroundings(
        (node.lineno, node.col_offset) if kind.has_place else place,  # type: ignore[attr-defined]  # has_place
        # Arguments by name and clauses of a comprehension are no expressions, but what they hold is as deep.
        expressions + 1 if kind.is_expression else 0 if kind.is_statement else expressions,
        statements + 1 if kind.is_statement else statements,
        in_declaration or isinstance(node, _DECLARATIONS),
        kind.is_inside and (in_comprehension or isinstance(node, _COMPREHENSIONS)),
    )


def _check_depth(inner: _Surroundings, faults: FaultLog) -> bool:
    if inner.expressions > EXPRESSION_DEPTH_MAX:
        message = f"expression is nested deeper than {EXPRESSION_DEPTH_MAX}"
        faults.add("EXPRESSION_DEPTH", *inner.place, message)
        return False
    if inner.statements > STATEMENT_DEPTH_MAX:
        message = f"statements are nested deeper than {STATEMENT_DEPTH_MAX}, counting each elif"
        faults.add("INDENT_DEPTH", *inner.place, message)
        return False
    return True


def _is_none(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _check_node(node: ast.AST, place: tuple[int, int], outer: _Surroundings, faults: FaultLog) -> bool:
    """Note what is wrong with one node; return whether it is known, so that there is a look inside it."""
    kind = type(node).__name__
    if kind in REFUSED:
        code, written = REFUSED[kind]
        remedy = _advise_import(node) if code == "IMPORT" else CONSTRUCTS.get(written, "")
        faults.add(code, *place, f"{written} is not part of the dialect", written, remedy)
    elif kind not in _ALLOWED:
        faults.add("CONSTRUCT", *place, f"{kind} is not part of the dialect", kind)
        return False
    if outer.in_declaration and isinstance(node, _DECLARATIONS):
        message = f"{node.name} is declared inside another declaration"
        faults.add("NESTED_FUNCTION", *place, message, node.name)
    if outer.in_comprehension and isinstance(node, _COMPREHENSIONS):
        # Each would add a frame to the stack, and some versions of CPython crash on deep nests.
        faults.add("COMPREHENSION", *place, "a comprehension stands inside another")
    if isinstance(node, ast.arguments):
        _note_parameters(node, faults)
    fault = _find_fault(node)
    if fault:
        faults.add(fault[0], *place, fault[1], _cut(node, faults))
    return True


def _cut(node: ast.AST, faults: FaultLog) -> str:
    """Return the text of a node that stands on one line; empty for others."""
    if isinstance(node, ast.expr | ast.keyword) and node.lineno == node.end_lineno:
        return faults.cut(node.lineno, node.col_offset, node.end_col_offset)
    return ""


def _advise_import(node: ast.AST) -> str:
    names = [part.name for part in node.names] if isinstance(node, ast.Import) else []
    module = node.module or "" if isinstance(node, ast.ImportFrom) else names[0] if names else ""
    return MODULES.get(module.partition(".")[0], "")


def _find_fault(node: ast.AST) -> tuple[str, str] | None:
    match node:
        case ast.Constant(value=value):
            return _find_constant_fault(value)
        case ast.keyword(arg=None):
            return "STAR", "** is not part of the dialect"
        case ast.Compare():
            return _find_identity_fault(node)
        case ast.For(orelse=[_, *_]) | ast.AsyncFor(orelse=[_, *_]) | ast.While(orelse=[_, *_]):
            return "LOOP_ELSE", "a loop has no else"
        case ast.Assign(targets=[_, _, *_]):
            return "CHAINED_ASSIGNMENT", "a value is assigned to one target at a time"
        case ast.Slice(step=step) if step is not None:
            return "SLICE_STEP", "a slice has no step"
        case ast.FormattedValue() if (
            node.conversion != -1 or node.format_spec or not isinstance(node.value, ast.Name)
        ):
            return "FORMAT", "only plain names may stand in braces"
        case ast.ListComp() | ast.GeneratorExp() if len(node.generators) != 1 or _is_complex(
            node.generators[0]
        ):
            return "COMPREHENSION", "a comprehension has one for over one name, and at most one if"
    return None


def _is_complex(clause: ast.comprehension) -> bool:
    return len(clause.ifs) > 1 or bool(clause.is_async) or not isinstance(clause.target, ast.Name)


def _find_constant_fault(value: object) -> tuple[str, str] | None:
    if value is None:
        return "NONE", "there is no None"
    if isinstance(value, float | complex):
        return "FLOAT", "there are no floats"
    if isinstance(value, bool | int | str | bytes):
        return None
    return "CONSTRUCT", "this literal is not part of the dialect"


def _find_identity_fault(node: ast.Compare) -> tuple[str, str] | None:
    for op, left, right in zip(node.ops, [node.left, *node.comparators], node.comparators, strict=False):
        # That there is no None is said where it stands; to compare it in another way would not help.
        if isinstance(op, ast.Is | ast.IsNot) and not _is_none(left) and not _is_none(right):
            written = "is" if isinstance(op, ast.Is) else "is not"
            return "IS", f"{written} is not part of the dialect"
    return None


def _note_parameters(node: ast.arguments, faults: FaultLog) -> None:
    """Note every form of parameter that is not plain, and every default, each where it stands."""
    forms = [
        ("/", node.posonlyargs[-1:]),
        ("*", [node.vararg] if node.vararg else node.kwonlyargs[:1]),
        ("**", [node.kwarg] if node.kwarg else []),
    ]
    for form, found in forms:
        for part in found:
            message = f"parameters are plain names; {form} is no part of the dialect"
            faults.add(
                "STAR", part.lineno, part.col_offset, message, part.arg, "name each parameter, plainly"
            )
    plain = [*node.posonlyargs, *node.args]
    with_default = plain[len(plain) - len(node.defaults) :]
    given = zip(node.kwonlyargs, node.kw_defaults, strict=True)
    for part in (*with_default, *(part for part, default in given if default is not None)):
        faults.add("DEFAULT", part.lineno, part.col_offset, f"parameter {part.arg} has a default", part.arg)
