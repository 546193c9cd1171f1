"""``atlas.hippocampus``: many atlases on people's hippocampi, beside a network's card.

MR crops of the Medical Segmentation Decathlon; each target is segmented by the atlases (never by
itself). Nothing without the development data. The line of the network needs a model named
``segment.hippocampus`` (installed, or as ``SOMASCOPE_HIPPOCAMPUS``): its Dice is that of its card,
on other cases of the same set; its time is taken here.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.register.case import Array, shared
from benchmarks.register.hippocampus import dice
from somascope import __version__
from somascope.analyze.atlas import Case, Propagated, fused, propagate
from somascope.analyze.atlas.cases import case
from somascope.analyze.atlas.several import likeness
from somascope.core import Image, Mask, Segment
from somascope.core.errors import GeometryError

TARGETS, ATLASES = 10, 10
SEGMENTS = (Segment(1, "Anterior hippocampus"), Segment(2, "Posterior hippocampus"))
VARIABLE = "SOMASCOPE_HIPPOCAMPUS"


def people(folder: Path, names: list[str]) -> list[Case]:
    """Labelled cases by file name."""
    from somascope.io import read, read_all

    found: list[Case] = []
    for name in names:
        image = read(folder / "images" / name)
        assert isinstance(image, Image)
        report = read_all(folder / "labels" / name)
        drawn = [*report.masks, *report.images][0].data
        labels = np.asarray(drawn).reshape(image.grid.shape).astype(np.uint8)
        found.append(case(image, Mask(data=labels, grid=image.grid, segments=SEGMENTS), name=name))
    return found


def chosen(folder: Path, *, targets: int, atlases: int) -> tuple[list[Case], list[Case]]:
    """Targets and atlases: different files, the same ones every time.

    Neighbouring numbers may be both sides of one person: two files on are left out.
    """
    names = sorted(p.name for p in (folder / "images").glob("*.nii.gz"))
    order = np.random.default_rng(0).permutation(len(names))
    picked = [int(k) for k in order[:targets]]
    others = [int(k) for k in order[targets:] if all(abs(int(k) - t) > 2 for t in picked)]
    return (
        people(folder, [names[k] for k in picked]),
        people(folder, [names[k] for k in others[:atlases]]),
    )


def run(*, small: bool) -> Iterator[dict[str, Any]]:
    """A line for each way to fuse, beside the likest atlas alone; and one beside the network."""
    folder = shared("msd_hippocampus")
    if folder is None:
        return
    targets, atlases = chosen(
        folder, targets=1 if small else TARGETS, atlases=3 if small else ATLASES
    )
    carried, spent = registered(targets, atlases)
    scores: dict[str, list[Array]] = {m: [] for m in ("one", "joint", "weighted", "majority",
                                                     "staple")}  # fmt: skip
    times: dict[str, list[float]] = {m: [] for m in scores}
    for target, warped, seconds in zip(targets, carried, spent, strict=True):
        volume = np.asarray(target.image.data, np.float32).reshape(target.image.grid.shape)
        labels = [w.labels for w in warped]
        alike = [likeness(volume, w.values, labels, target.image.grid) for w in warped]
        first = int(np.argmax(alike))
        scores["one"].append(both(labels[first], target))
        times["one"].append(seconds[first] * 1000)
        for method in ("joint", "weighted", "majority", "staple"):
            begin = time.perf_counter()
            made = fused(
                volume, [w.values for w in warped], labels, target.image.grid.spacing,
                method=method,
            )  # fmt: skip
            times[method].append((time.perf_counter() - begin + sum(seconds)) * 1000)
            scores[method].append(both(made.labels, target))
    what = f"{len(targets)} targets, {len(atlases)} atlases"
    for method in ("joint", "weighted", "majority", "staple"):
        yield line(
            f"{what}, {method}", times[method], scores[method], "one atlas, the likest",
            __version__, times["one"], float(np.mean(scores["one"])),
        )  # fmt: skip
    yield from beside_network(what, targets, times["joint"], scores["joint"])


def registered(
    targets: list[Case], atlases: list[Case]
) -> tuple[list[list[Propagated]], list[list[float]]]:
    """Each atlas on each target, and the seconds it took; those that do not fit are left out."""
    every: list[list[Propagated]] = []
    spent: list[list[float]] = []
    for target in targets:
        row: list[Propagated] = []
        seconds: list[float] = []
        for atlas in atlases:
            begin = time.perf_counter()
            try:
                found = propagate(target.image, atlas)
            except GeometryError:
                continue
            if found.warp.verdict.trusted:
                row.append(found)
                seconds.append(time.perf_counter() - begin)
        every.append(row)
        spent.append(seconds)
    return every, spent


def both(labels: Array, target: Case) -> Array:
    """Dice of the anterior and of the posterior part."""
    return np.array([dice(labels, np.asarray(target.labels.data), (k,)) for k in (1, 2)])


def line(
    name: str, ours: list[float], scores: list[Array], peer: str, version: str,
    peer_ms: list[float], quality: float,
) -> dict[str, Any]:  # fmt: skip
    """One line; both parts' Dice stand in the case."""
    front, back = np.mean(scores, axis=0)
    times = {
        k: {"min": min(v), "median": statistics.median(v)}
        for k, v in (("ours", ours), ("peer", peer_ms))
    }
    return {
        "name": "atlas.hippocampus",
        "case": f"{name}: Dice anterior {front:.3f}, posterior {back:.3f}",
        "ours_ms": times["ours"],
        "peer": peer,
        "peer_version": version,
        "peer_ms": times["peer"],
        "ratio": times["peer"]["median"] / times["ours"]["median"],
        "quality_metric": "mean Dice of two labels",
        "quality_ours": round(float(np.mean(scores)), 4),
        "quality_peer": round(quality, 4),
    }


def beside_network(
    what: str, targets: list[Case], ours: list[float], scores: list[Array]
) -> Iterator[dict[str, Any]]:
    """Joint fusion beside the figures on the network's card."""
    from somascope.core.errors import NotFound
    from somascope.models import load

    try:
        network = load(os.environ.get(VARIABLE) or "segment.hippocampus")
    except NotFound as error:
        print(f"atlas.hippocampus: no line of the network ({error})", file=sys.stderr)
        return
    card = {m.name: m for m in network.card.metrics}
    if "dice" not in card:
        print("atlas.hippocampus: the network's card tells no Dice", file=sys.stderr)
        return
    spent: list[float] = []
    for target in [targets[0], *targets]:
        begin = time.perf_counter()
        network(target.image, anyway=True)
        spent.append((time.perf_counter() - begin) * 1000)
    yield line(
        f"{what}, joint, beside {network.card.name}'s card ({card['dice'].on}, "
        f"{card['dice'].cases} cases)",
        ours, scores, network.card.name, network.card.version, spent[1:], card["dice"].value,
    )  # fmt: skip
