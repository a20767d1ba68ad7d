"""Checks on the graph of calls inside one contract: no recursion, bounded chains, views that only read."""

from __future__ import annotations

from tanpo.vm.limits import CALL_CHAIN_MAX
from tanpo.vm.scope import ModuleScope


def check_graph(scope: ModuleScope) -> None:
    """Note recursion, chains that are too long, and views that can reach a write."""
    lengths: dict[str, int] = {}
    for name in scope.functions:
        _measure(scope, name, (), lengths)
    for name, signature in scope.functions.items():
        if lengths.get(name, 0) > CALL_CHAIN_MAX:
            message = f"{name} starts a chain of {lengths[name]} calls; at most {CALL_CHAIN_MAX} are allowed"
            scope.fault("CALL_CHAIN", signature.node, message, name)
        if signature.kind == "view":
            _check_view(scope, name, signature.node.name)


def _measure(scope: ModuleScope, name: str, path: tuple[str, ...], lengths: dict[str, int]) -> int:
    """Return how many functions a call of `name` can have active at once."""
    if name in lengths:
        return lengths[name]
    longest = 0
    for callee, (line, column) in scope.calls.get(name, {}).items():
        if callee == name or callee in path:
            scope.faults.add(
                "RECURSION", line, column, f"{name} calls {callee}, which leads back here", callee
            )
        elif len(path) <= CALL_CHAIN_MAX:
            longest = max(longest, _measure(scope, callee, (*path, name), lengths))
    lengths[name] = longest + 1
    return longest + 1


def _check_view(scope: ModuleScope, start: str, view: str) -> None:
    pending, seen = [start], {start}
    while pending:
        name = pending.pop()
        if name in scope.writes:
            line, column, what = scope.writes[name]
            through = f" through {name}" if name != start else ""
            scope.faults.add("VIEW_WRITES", line, column, f"view {view} {what}{through}", view)
        for callee in scope.calls.get(name, {}):
            if callee not in seen:
                seen.add(callee)
                pending.append(callee)
