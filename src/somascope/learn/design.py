"""How large a network a plan has: as much as data, file and budget bear, and no step finer."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

from somascope.learn.fingerprint import Fingerprint
from somascope.learn.objects import STRIDE

WIDTHS = (8, 16, 24, 32, 48, 64)
"""Channels of the finest level. A core calculates eight numbers at a time: six cost as much."""
USUAL = 16
"""A network narrower than this is taken only where nothing else fits."""
THICK = {2: 5.0, 3: 4.0}
"""Thickness in pictures and volumes below which things need the finest lattice. As it is measured
a rod in a volume counts less than its diameter."""
SIDES = ("left", "right", "side", "sinist", "dext", "lateral")
"""In the name of a class: it may be one of a side."""
LETTERS = frozenset(("l", "r", "lt", "rt", "lh", "rh", "od", "os"))
"""The same, as words of their own."""
PASSES = 20
"""Times that every voxel of what is to be segmented should be seen."""


def parts(f: Fingerprint, patch: Sequence[int]) -> float:
    """Patches that are as much as a case."""
    whole = math.prod(f.shape_median[3 - f.dimensions :])
    return min(max(whole / math.prod(patch), 1.0), 64.0)


def examples(f: Fingerprint, patch: Sequence[int]) -> int:
    """Examples (of the size of a patch) that should be seen at the least."""
    if f.task == "classify":
        return max(15 * f.cases, 15_000) if f.dimensions == 2 else max(20 * f.cases, 6_000)
    if f.task == "segment":
        return max(int(PASSES * f.cases * parts(f, patch)), 4_000)
    if f.task == "detect":  # of a volume a patch shows a part
        return max((20 if f.dimensions == 2 else 40) * f.cases, 4_000)
    return max(30 * f.cases, 2_000)


def most_steps(f: Fingerprint, patch: Sequence[int], batch: int) -> int:
    """Steps after which nothing new is learned, however large the budget."""
    return int(examples(f, patch) * (6 if f.task in ("segment", "register") else 4) / batch)


def sided(classes: Sequence[str]) -> bool:
    """Whether a class may be one of a side, so that a mirrored image would be labelled wrongly.

    A class without a name of its own (a number, ``label 2``) may be.
    """
    for name in classes:
        words = re.findall("[^\\W\\d_]+", name.lower())
        if any(side in name.lower() for side in SIDES) or LETTERS & set(words):
            return True
        if not set(words) - {"label", "class"}:
            return True
    return False


def designed(
    f: Fingerprint,
    patch: tuple[int, ...],
    classes: int,
    flops: float,
    most_bytes: int,
    why: dict[str, str],
) -> dict[str, Any]:
    """The network's description, as `build` takes it, for ``flops`` operations of training."""
    from somascope.learn.networks import build
    from somascope.learn.networks.blocks import multiplications, parameters

    channels = 2 * f.channels + 1 if f.single else f.channels
    shapes = [(1, channels, *patch)] * (2 if f.task == "register" else 1)

    def costs(width: int, stem: int) -> tuple[float, int]:
        network = build(_described(f, patch, classes, width, stem))
        size = 4 * parameters(network)
        return 6.0 * multiplications(network, *shapes) * examples(f, patch), size

    stem = 1
    if f.task == "classify":
        # A first step of two: 3-D costs most there, large pictures show nothing finer.
        stem = 2 if max(patch) >= (24 if f.dimensions == 3 else 48) else 1
    elif f.task == "detect" and f.dimensions == 3:
        stem = STRIDE[3]
        why["stem"] = "blocks of two voxels a side are one cell: objects are larger than a voxel"
    elif costs(USUAL, 1)[0] > flops and all(n % 4 == 0 for n in patch):
        if f.task == "segment" and f.thin < THICK[f.dimensions]:
            why["stem"] = f"what is to be found is {f.thin:.1f} voxels thick: no voxel is merged"
        else:
            stem = 2
            why["stem"] = (
                "blocks of two voxels a side are one cell inside, and voxels again in the answer: "
                "the finest level would take most of the budget"
            )
    widest = WIDTHS[-1] if f.cases >= 1000 else 32
    best = WIDTHS[0]
    cost, size = costs(best, stem)
    for width in WIDTHS[1:]:
        more, large = costs(width, stem)
        if more > flops or large > most_bytes or width > widest:
            break
        best, cost, size = width, more, large
    why["network"] = (
        f"the widest ({best}) whose training on {examples(f, patch)} examples fits the budget "
        f"({cost:.2g} of {flops:.2g} operations), whose weights fit the file ({size / 1e6:.1f} of "
        f"{most_bytes / 1e6:.0f} MB), and that {f.cases} cases can feed (at most {widest})"
    )
    return _described(f, patch, classes, best, stem)


def _described(
    f: Fingerprint, patch: tuple[int, ...], classes: int, width: int, stem: int
) -> dict[str, Any]:
    if f.task == "classify":
        stages = min(max(int(math.log2(max(min(patch), 8) / 7)) + 1, 2), 4)
        return {
            "kind": "single" if f.single else "resnet", "inputs": f.channels, "outputs": classes,
            "dimensions": f.dimensions, "blocks": 2 if f.dimensions == 2 else 1, "stem": stem,
            "widths": [min(width * 2**i, 256) for i in range(stages)],
        }  # fmt: skip
    most = 5 if f.dimensions == 2 else 4
    if f.task == "segment" and f.thin < THICK[f.dimensions] and stem == 1:
        most = 4 if f.dimensions == 2 else 3  # thin things are told from what is near
    levels = 1
    while (
        levels < most
        and all(n % (stem * 2**levels) == 0 and n // (stem * 2**levels) >= 3 for n in patch)
    ):  # fmt: skip
        levels += 1
    widths = [min(width * 2**i, 8 * width, 256) for i in range(levels)]
    if f.task == "register":
        return {"kind": "voxelmorph", "dimensions": f.dimensions, "stem": stem,
                "widths": [min(w, 2 * width) for w in widths]}  # fmt: skip
    if f.task == "detect" and f.dimensions == 3:
        deep = min(int(math.log2(min(patch) // 2)) - 1, 4)
        return {"kind": "detector", "inputs": f.channels, "classes": classes, "dimensions": 3,
                "widths": [min(width * 2**i, 8 * width, 256) for i in range(deep)], "norm": "batch",
                "stem": STRIDE[3]}  # fmt: skip
    if f.task == "detect":
        return {
            "kind": "unet", "inputs": f.channels, "outputs": classes + 4, "dimensions": 2,
            "widths": widths, "norm": "batch", "finest": 2 // stem, "residual": True, "stem": stem,
        }  # fmt: skip
    return {
        "kind": "unet", "inputs": f.channels, "outputs": classes + 1, "dimensions": f.dimensions,
        "widths": widths, "norm": "instance", "stem": stem,
    }  # fmt: skip
