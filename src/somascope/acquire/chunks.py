"""Loops over independent pieces that the calling thread runs and free processors join.

The caller never waits for a helper that has not started: on a busy machine it does all the work
itself instead of standing at a barrier until the other threads get their turn. Kernels must release
the interpreter lock (``nogil``).
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import cache
from typing import Any

from somascope.acquire.nufft import cores

PIECES = 8
"""Pieces per processor: small enough to share evenly, large enough to be worth a call."""


@cache
def _helpers(process: int) -> ThreadPoolExecutor:
    """Threads of this process; a forked child makes its own."""
    return ThreadPoolExecutor(max_workers=max(cores() - 1, 1), thread_name_prefix=f"c{process}")


def in_chunks(kernel: Callable[..., Any], count: int, *args: Any) -> None:
    """Call ``kernel(start, stop, *args)`` over ``range(count)`` in pieces, on free processors."""
    threads = min(cores(), count)
    if threads <= 1:
        kernel(0, count, *args)
        return
    size = -(-count // (threads * PIECES))
    numbers = itertools.count()

    def work() -> None:
        while (start := next(numbers) * size) < count:
            kernel(start, min(start + size, count), *args)

    pool = _helpers(os.getpid())
    futures = [pool.submit(work) for _ in range(threads - 1)]
    work()
    for future in futures:
        if not future.cancel():
            future.result()


@cache
def _libraries(process: int) -> Any:  # noqa: ARG001  (a forked child looks again)
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def one_thread() -> AbstractContextManager[Any]:
    """Linear algebra inside on one thread: for matrices of a few hundred, threads only wait."""
    return _libraries(os.getpid()).limit(limits=1, user_api="blas")
