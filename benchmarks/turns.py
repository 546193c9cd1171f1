"""Two programs timed in turn: peer, ours, peer, ours ..., and what each of them made."""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from typing import Any, TypeVar

import numpy as np

Array = np.ndarray
Outcome = TypeVar("Outcome")


def compared(
    name: str,
    case: str,
    *,
    ours: Callable[[], Outcome],
    peer: Callable[[], Outcome] | None,
    package: str,
    quality: Callable[[Outcome], float],
    metric: str,
    rounds: int,
    versions: Callable[[str], str] = version,
) -> dict[str, Any]:
    """One line: both run in turn, after one warming run each.

    ``versions`` tells the peer's; it may live outside this environment.
    """
    peer = ours if peer is None else quiet(peer)
    good = quality(ours()), quality(peer())
    spent: dict[str, list[float]] = {"ours": [], "peer": []}
    for _ in range(rounds):
        for side, run in (("peer", peer), ("ours", ours)):
            start = time.perf_counter()
            run()
            spent[side].append((time.perf_counter() - start) * 1000)
    times = {k: {"min": min(v), "median": statistics.median(v)} for k, v in spent.items()}
    return {
        "name": name,
        "case": case,
        "ours_ms": times["ours"],
        "peer": package,
        "peer_version": versions(package),
        "peer_ms": times["peer"],
        "ratio": times["peer"]["median"] / times["ours"]["median"],
        "quality_metric": metric,
        "quality_ours": float(f"{good[0]:.4g}"),
        "quality_peer": float(f"{good[1]:.4g}"),
    }


def quiet(peer: Callable[[], Outcome]) -> Callable[[], Outcome]:
    """The peer with its own warnings left unsaid: they depend on the machine and are not ours."""

    def run() -> Outcome:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            return peer()

    return run
