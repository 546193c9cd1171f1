"""Does a failed registration say so? Planted failures and good pairs, judged.

The limits of `analyze.register.evidence` were chosen on the cases of seeds 0 and 1; those of
seed 2, other maps, noise and bodies, are what is counted here. The peer is the check that is
usually made: that the images became more similar.
"""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

from benchmarks.register.verdict_cases import Case
from benchmarks.register.verdict_kinds import cases
from somascope import __version__
from somascope.analyze.register.evidence import judge

JUDGED = 2
"""Seed of the cases on which the limits are judged."""


def said(case: Case) -> tuple[bool, bool, float]:
    """Whether ours trusts it, whether the peer does, and ms of judging."""
    begin = time.perf_counter()
    verdict = judge(case.fixed, case.moving, case.warp)
    spent = (time.perf_counter() - begin) * 1000
    rose = verdict.after["information"] > verdict.before["information"]
    return verdict.trusted, rose, spent


def run(*, small: bool) -> Iterator[dict[str, Any]]:
    """Two lines: failures caught and false alarms; the time is of judging, and of registering."""
    found: list[tuple[Case, bool, bool]] = []
    judging: list[float] = []
    making: list[float] = []
    begin = time.perf_counter()
    for case in cases(seed=JUDGED, share=4 if small else 1, made=small):
        making.append((time.perf_counter() - begin) * 1000)
        ours, peer, spent = said(case)
        judging.append(spent)
        found.append((case, ours, peer))
        begin = time.perf_counter()
    failed = [f for f in found if f[0].failed]
    good = [f for f in found if not f[0].failed]
    missed = Counter(c.kind for c, ours, _ in failed if ours)
    alarms = Counter(c.kind for c, ours, _ in good if not ours)
    times = [{"min": min(t), "median": statistics.median(t)} for t in (judging, making)]
    common = {
        "name": "register.verdict", "ours_ms": times[0], "peer": "registration, information rose",
        "peer_version": __version__, "peer_ms": times[1],
        "ratio": times[1]["median"] / times[0]["median"],
    }  # fmt: skip

    def share(chosen: list[tuple[Case, bool, bool]], which: int, trusted: bool) -> float:  # noqa: FBT001
        return round(100 * sum(f[which] is trusted for f in chosen) / max(len(chosen), 1), 2)  # pyright: ignore[reportGeneralTypeIssues]

    yield {
        **common, "case": f"{len(failed)} planted failures" + _listed(" missed", missed),
        "quality_metric": "flagged, %",
        "quality_ours": share(failed, 1, False), "quality_peer": share(failed, 2, False),
    }  # fmt: skip
    yield {
        **common, "case": f"{len(good)} good pairs" + _listed(" alarmed", alarms),
        "quality_metric": "false alarms, %",
        "quality_ours": share(good, 1, False), "quality_peer": share(good, 2, False),
    }  # fmt: skip


def _listed(word: str, kinds: Counter[str]) -> str:
    return "".join(f";{word} {n} {kind}" for kind, n in sorted(kinds.items()))
