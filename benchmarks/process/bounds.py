"""What the memory of this machine allows, and how much memory a filter takes: said with its line.

The bandwidth is that of ``a[i] = b[i] + c[i]`` on all cores in the same run (STREAM's add). The
fewest bytes a filter can move are its input once and its result once; most filters here compute
far longer than that takes, and the share says how far they are from the only bound that no cleverer
arithmetic can pass. The peak is what NumPy held at once, input and result included, over the two.
"""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable
from functools import cache
from typing import Any

import numba
import numpy as np

from benchmarks import turns

Array = np.ndarray


@numba.njit(parallel=True)
def _add(a: Array, b: Array, c: Array) -> None:
    for i in numba.prange(a.size):
        a[i] = b[i] + c[i]


@cache
def bandwidth() -> float:
    """Gigabytes per second that all cores read and write, best of five."""
    b = np.ones(1 << 25, np.float32)
    a, c = np.empty_like(b), np.ones_like(b)
    spent = []
    for _ in range(6):
        start = time.perf_counter()
        _add(a, b, c)
        spent.append(time.perf_counter() - start)
    return 3 * b.nbytes / min(spent) / 1e9


def peak(ours: Callable[[], Array], given: int) -> tuple[float, int]:
    """Peak of the arrays over ``given`` bytes and the result's, and those two together."""
    tracemalloc.start()
    found = ours()
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    least = given + found.nbytes
    return (given + most) / least, least


def compared(name: str, case: str, *, given: int, ours: Callable[[], Array], **rest: Any) -> Any:
    """`benchmarks.turns.compared`, both bounds told in its case; ``given``: the input's bytes."""
    line = turns.compared(name, case, ours=ours, **rest)
    share, least = peak(ours, given)
    rate = least / (line["ours_ms"]["min"] * 1e6)
    line["case"] += (
        f"; {100 * rate / bandwidth():.0f} % of {bandwidth():.1f} GB/s, "
        f"{share:.2f} x the memory of input and result"
    )
    return line
