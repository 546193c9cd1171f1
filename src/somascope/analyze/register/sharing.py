"""Kernels over slices and rows: shared among free processors when they are worth it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from somascope.process.chunks import in_chunks

SMALL = 60_000
"""Voxels up to which one processor is done before another has begun."""


def shared(kernel: Callable[..., Any], count: int, size: int, *args: Any) -> None:
    """``kernel(start, stop, *args)`` over ``range(count)``, ``size`` voxels in all."""
    if size <= SMALL:
        kernel(0, count, *args)
    else:
        in_chunks(kernel, count, *args)
