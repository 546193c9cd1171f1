"""`Progress`: how long work says where it is, and hears that it should stop."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sized
from typing import TypeVar

from somascope.core.errors import Cancelled

T = TypeVar("T")


class Progress:
    """Report a fraction in [0, 1] and a message; raises `Cancelled` once the user stops it.

    ``report(fraction, message)`` is called at every step; ``cancelled()`` is asked at every step.
    The default does nothing, so functions can call it unconditionally.
    """

    def __init__(
        self,
        report: Callable[[float, str], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> None:
        self._report = report
        self._cancelled = cancelled

    def __call__(self, fraction: float, message: str = "") -> None:
        """Say how far the work is; the place where a cancel takes effect."""
        if self._cancelled is not None and self._cancelled():
            raise Cancelled(f"stopped at {fraction:.0%} {message}".rstrip())
        if self._report is not None:
            self._report(min(max(fraction, 0.0), 1.0), message)

    def over(
        self, items: Iterable[T], message: str = "", *, total: int | None = None
    ) -> Iterator[T]:
        """Iterate and report after each item."""
        n = total if total is not None else (len(items) if isinstance(items, Sized) else 0)
        for i, item in enumerate(items):
            self(i / n if n else 0.0, message)
            yield item
        self(1.0, message)


QUIET = Progress()
"""Reports to nobody, never cancelled."""
