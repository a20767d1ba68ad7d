"""Puts into a program what CPython lacks: state, checked integers, ordered dicts, details that wait."""

from __future__ import annotations

import ast


def translate(tree: ast.Module) -> tuple[ast.Module, dict[str, str], dict[str, str]]:
    """Return a module for CPython, its slots with their containers, and its handles with their contracts."""
    translator = _Translator()
    kept: list[ast.stmt] = []
    for node in tree.body:
        if isinstance(node, ast.AnnAssign) and node.value is None:
            translator.declare(node)
        else:
            kept.append(node)
    tree.body = [translator.visit(node) for node in kept]
    return ast.fix_missing_locations(tree), translator.slots, translator.handles


class _Translator(ast.NodeTransformer):
    def __init__(self) -> None:
        self.slots: dict[str, str] = {}
        self.handles: dict[str, str] = {}

    def declare(self, node: ast.AnnAssign) -> None:
        """Note a declaration of state, or of a handle."""
        name = node.target.id if isinstance(node.target, ast.Name) else ""
        match node.annotation:
            case ast.Subscript(value=ast.Name(id="Contract"), slice=ast.Constant(value=str(contract))):
                self.handles[name] = contract
            case ast.Subscript(value=ast.Name(id=("Map" | "Index") as container)):
                self.slots[name] = container
            case _:
                self.slots[name] = "variable"

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.decorator_list = []
        return self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return _call("read_", ast.Constant(node.id)) if self._is_variable(node) else node

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        self.generic_visit(node)
        return _call("work_", ast.Constant(type(node.op).__name__), node.left, node.right)

    def visit_For(self, node: ast.For | ast.comprehension) -> ast.AST:
        self.generic_visit(node)
        items = _call("loop_", node.iter)
        # A comprehension runs over the items that are there when it begins.
        node.iter = items if isinstance(node, ast.For) else ast.Subscript(items, ast.Slice(), ast.Load())
        return node

    visit_comprehension = visit_For

    def visit_Call(self, node: ast.Call) -> ast.AST:
        is_copied = (
            isinstance(node.func, ast.Attribute)
            and node.func.attr == "get"
            and self._is_state(node.func.value)
        )
        self.generic_visit(node)
        return _call("copy_", node) if is_copied else node

    def visit_Assign(self, node: ast.Assign) -> ast.AST:
        target = node.targets[0]
        if isinstance(target, ast.Name) and self._is_variable(target):
            return ast.Expr(_call("write_", ast.Constant(target.id), self.visit(node.value)))
        return self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        if node.value is not None:
            node.value = self.visit(node.value)
        return node

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.AST:
        target, operator = node.target, ast.Constant(type(node.op).__name__)
        value = self.visit(node.value)
        later = ast.Lambda(
            args=ast.arguments(posonlyargs=[], args=[], kwonlyargs=[], kw_defaults=[], defaults=[]),
            body=value,
        )
        match target:
            case ast.Name(id=name) if self._is_variable(target):
                old = _call("read_", ast.Constant(name))
                return ast.Expr(_call("write_", ast.Constant(name), _call("work_", operator, old, value)))
            case ast.Name(id=name):
                changed = _call("work_", operator, ast.Name(name, ast.Load()), value)
                return ast.Assign([ast.Name(name, ast.Store())], changed)
            case ast.Attribute(value=holder, attr=field):
                return ast.Expr(
                    _call("change_field_", self.visit(holder), ast.Constant(field), operator, later)
                )
        holder, key = self.visit(target.value), self.visit(target.slice)
        return ast.Expr(_call("change_item_", holder, key, operator, later))

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        match node.value:
            case ast.Call(func=ast.Name(id="require"), args=[test, code], keywords=details):
                failure = ast.Call(ast.Name("abort", ast.Load()), [code], details)
                node_if = ast.If(ast.UnaryOp(ast.Not(), test), [ast.Expr(failure)], [])
                return self.generic_visit(node_if)
        return self.generic_visit(node)

    def _is_variable(self, node: ast.Name) -> bool:
        return self.slots.get(node.id) == "variable"

    def _is_state(self, node: ast.expr) -> bool:
        """Tell whether a value is read from the state, so that `get` copies a default as well."""
        match node:
            case ast.Name(id=name):
                return name in self.slots
            case ast.Attribute(value=inner) | ast.Subscript(value=inner):
                return self._is_state(inner)
            case ast.Call(func=ast.Attribute(value=inner, attr="get")):
                return self._is_state(inner)
        return False


def _call(name: str, *arguments: ast.expr) -> ast.Call:
    return ast.Call(ast.Name(name, ast.Load()), list(arguments), [])
