"""A progress bar for anything longer than a second, silent when nobody watches."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from somascope.core.progress import Progress


@contextmanager
def bar(title: str) -> Iterator[Progress]:
    """A `Progress` drawn on stderr when that is a terminal."""
    if not sys.stderr.isatty():
        yield Progress()
        return
    from rich.console import Console
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Drawing

    with Drawing(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=Console(stderr=True),
        transient=True,
    ) as drawing:
        task = drawing.add_task(title, total=1.0, note="")
        yield Progress(lambda f, note: drawing.update(task, completed=f, note=note[:60]))
