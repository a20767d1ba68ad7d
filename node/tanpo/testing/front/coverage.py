"""Notes which branches of the checker ran: cheap where Python can switch an event off once it was seen."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import CodeType, FrameType

Edge = tuple[CodeType, int, int]


class Coverage:
    """The edges seen between lines of the modules whose files end in one of `names`."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self._names = names
        self.edges: set[Edge] = set()
        self._wanted: dict[CodeType, bool] = {}
        self._ways: dict[tuple[CodeType, int], int] = {}
        self._is_monitoring = False

    def run(self, work: Callable[[], None]) -> bool:
        """Run `work` and tell whether it took an edge that was never taken before."""
        before = len(self.edges)
        if sys.version_info >= (3, 12):
            self._monitor(work)
        else:
            self._trace(work)
        return len(self.edges) > before

    def _is_wanted(self, code: CodeType) -> bool:
        wanted = self._wanted.get(code)
        if wanted is None:
            wanted = self._wanted[code] = code.co_filename.endswith(self._names)
        return wanted

    def _trace(self, work: Callable[[], None]) -> None:
        edges = self.edges

        def enter(frame: FrameType, event: str, argument: object) -> object:  # noqa: ARG001 - Python's shape
            code = frame.f_code
            if not self._is_wanted(code):
                return None
            previous = 0

            def note(inner: FrameType, event: str, argument: object) -> object:  # noqa: ARG001 - Python's shape
                nonlocal previous
                edges.add((code, previous, inner.f_lineno))
                previous = inner.f_lineno
                return note

            return note

        sys.settrace(enter)  # type: ignore[arg-type]  # the stub asks for a recursive type
        try:
            work()
        finally:
            sys.settrace(None)

    def _monitor(self, work: Callable[[], None]) -> None:
        # Switched on once: each change makes Python instrument all code again.
        if not self._is_monitoring:
            self._start_monitoring()
        work()

    def _start_monitoring(self) -> None:
        monitoring = sys.monitoring  # type: ignore[attr-defined]  # from Python 3.12 on
        edges, tool, ways = self.edges, monitoring.COVERAGE_ID, self._ways
        self._is_monitoring = True

        def note(code: CodeType, start: int, stop: int) -> object:
            if not self._is_wanted(code):
                return monitoring.DISABLE
            edges.add((code, start, stop))
            seen = ways.setdefault((code, start), stop)
            # Both ways of a branch share one switch: it goes off when both were seen.
            return None if seen == stop else monitoring.DISABLE

        monitoring.use_tool_id(tool, "front")
        monitoring.register_callback(tool, monitoring.events.BRANCH, note)
        monitoring.set_events(tool, monitoring.events.BRANCH)

    def close(self) -> None:
        """Give back what Python allows only one of."""
        if self._is_monitoring:
            monitoring = sys.monitoring  # type: ignore[attr-defined]  # from Python 3.12 on
            monitoring.set_events(monitoring.COVERAGE_ID, 0)
            monitoring.free_tool_id(monitoring.COVERAGE_ID)
            self._is_monitoring = False
