"""Figures of parts of the cases: women and men, scanners, small objects and large ones."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from somascope.core import Image
from somascope.learn.datasets import Case
from somascope.learn.metrics.bootstrap import DRAWS, interval
from somascope.models import Metric

LEAST = 5
"""Cases of a group; fewer say nothing."""
MOST = 8
"""Groups of one kind; more are no groups."""
_FACTS = {
    "PatientSex": "sex", "Manufacturer": "manufacturer", "MagneticFieldStrength": "field strength",
    "BodyPartExamined": "body part", "InstitutionName": "institution",
}  # fmt: skip


def groups_of(case: Case, image: Image) -> dict[str, str]:
    """Which groups a case belongs to: by its data set, and by what its image says of itself."""
    found = {
        name: str(image.attributes[k]) for k, name in _FACTS.items() if image.attributes.get(k)
    }
    age = re.match(r"0*(\d+)Y", str(image.attributes.get("PatientAge", "")))
    if age:
        found["age"] = f"{int(age[1]) // 20 * 20} to {int(age[1]) // 20 * 20 + 19}"
    return {**found, **case.groups}


def thirds(rows: Sequence[dict[str, Any]], name: str) -> None:
    """Add to the groups of rows whether their number ``name`` is a small, middle or large one."""
    values = np.array([float(r.get(name, np.nan)) for r in rows])
    if not np.isfinite(values).all() or len(values) < 3 * LEAST:
        return
    low, high = np.percentile(values, (100 / 3, 200 / 3))
    if low == high:
        return
    for row, v in zip(rows, values, strict=True):
        row["groups"][name] = "small" if v <= low else "large" if v > high else "middle"


def subgroups(task: str, rows: Sequence[Mapping[str, Any]], *, draws: int = DRAWS) -> list[Metric]:
    """The main figure of every group of `LEAST` cases or more; ``on`` is ``kind: group``."""
    kinds = sorted({k for r in rows for k in r["groups"]})
    found: list[Metric] = []
    for kind in kinds:
        names = sorted({r["groups"][kind] for r in rows if kind in r["groups"]})
        parts = [[r for r in rows if r["groups"].get(kind) == n] for n in names]
        parts = [p for p in parts if len(p) >= LEAST]
        if len(parts) < 2 or len(names) > MOST:
            continue
        for part in parts:
            on = f"{kind}: {part[0]['groups'][kind]}"
            found += _figures(task, part, on, draws)
    return found


def _figures(task: str, rows: Sequence[Mapping[str, Any]], on: str, draws: int) -> list[Metric]:
    patients = [str(r["patient"]) for r in rows]
    if task != "classify":
        quality = np.array([float(r["quality"]) for r in rows])
        name = {"segment": "dice", "detect": "mean AP of an image", "register": "quality"}[task]
        value = interval(lambda i: float(np.nanmean(quality[i])), patients, draws=draws)
        return [Metric(name, *value, len(rows), on)]
    from somascope.learn.metrics.ranking import auc_of

    truth = np.array([r["truth"] for r in rows])
    log = np.log(np.maximum([r["p"] for r in rows], 1e-12))
    right = np.array([r["said"] == r["truth"] for r in rows], float)
    found = [
        Metric("accuracy", *interval(lambda i: float(right[i].mean()), patients, draws=draws),
               len(rows), on)
    ]  # fmt: skip
    if len(np.unique(truth)) > 1:
        area = interval(lambda i: auc_of(log[i], truth[i]), patients, draws=draws)
        found.insert(0, Metric("auc", *area, len(rows), on))
    return found
