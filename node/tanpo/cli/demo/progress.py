"""Visible progress on stderr: the chapter being played, its transactions so far, and the time."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Self

from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from tanpo.cli.output import stderr_console


class DemoProgress:
    """One line a chapter: live on a terminal, a plain line when it ends elsewhere."""

    def __init__(self) -> None:
        console = stderr_console()
        self._is_live = sys.stderr.isatty()
        self._progress = Progress(
            SpinnerColumn(finished_text="✓"),
            TextColumn("{task.description}"),
            TextColumn("{task.completed} transactions"),
            TimeElapsedColumn(),
            console=console,
            disable=not self._is_live,
        )
        self._task: TaskID | None = None
        self._chapter = ""

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._end_chapter()
        self._progress.stop()

    def on_change(self, chapter: str, added: int) -> None:
        """Draw a chapter that began, or transactions that it settled."""
        if chapter != self._chapter:
            self._end_chapter()
            self._chapter = chapter
            self._task = self._progress.add_task(chapter, total=None)
            if not self._is_live:
                sys.stderr.write(f"{chapter} ...\n")
        if self._task is not None and added:
            self._progress.advance(self._task, added)

    def _end_chapter(self) -> None:
        if self._task is not None:
            done = self._progress.tasks[self._task].completed
            self._progress.update(self._task, total=max(done, 1), completed=max(done, 1))
            self._progress.stop_task(self._task)
            self._task = None
