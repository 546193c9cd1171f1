"""Loops over independent pieces that the calling thread runs and free processors join.

The caller never waits for a helper that has not started: on a busy machine it does all the work
itself instead of standing at a barrier until the other threads get their turn. Kernels must release
the interpreter lock (``nogil``).
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from typing import Any

import numba

from somascope.core.grid import Array

PIECES = 8
"""Pieces per processor: small enough to share evenly, large enough to be worth a call."""


SMALL = 1 << 19
"""Voxels up to which simple work on each is done before another processor has begun."""


def cores() -> int:
    """Processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


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


def sealed(given: Array) -> Array:
    """A view that cannot be written, of what a kernel only reads.

    To the compiler it is another type: where images come sealed and intermediate results do not,
    each kernel would be compiled twice.
    """
    view = given.view()
    view.flags.writeable = False
    return view


@contextmanager
def alone_if_small(size: int) -> Iterator[None]:
    """Parallel loops inside (``numba.prange``) by the caller alone where ``size`` is `SMALL`.

    Their threads wait for each other at the end of every loop: on a busy machine much longer than
    the work takes.
    """
    threads = numba.get_num_threads()
    if size <= SMALL:
        numba.set_num_threads(1)
    try:
        yield
    finally:
        numba.set_num_threads(threads)


@cache
def _libraries(process: int) -> Any:  # noqa: ARG001  (a forked child looks again)
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def one_thread() -> AbstractContextManager[Any]:
    """Linear algebra inside on one thread: for matrices of a few hundred, threads only wait."""
    return _libraries(os.getpid()).limit(limits=1, user_api="blas")
