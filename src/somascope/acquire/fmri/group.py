"""Groups of subjects: one map each, on one grid, the question asked of their population."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np

from somascope.acquire.fmri.design import Design
from somascope.acquire.fmri.model import fit
from somascope.acquire.fmri.permutation import neighbours, permute
from somascope.acquire.fmri.runs import map_of
from somascope.acquire.fmri.statistics import evaluate
from somascope.core import QUIET, Image, Param, Progress, operation
from somascope.core.errors import GeometryError, ParameterError
from somascope.core.grid import Array

Question = Annotated[
    Literal["one", "two", "paired"],
    Param("One sample against 0, two samples (second minus first), or pairs (second half minus "
          "first half)"),
]  # fmt: skip
Groups = Annotated[
    tuple[float, ...],
    Param("For two samples: 0 or 1 for each map; empty: the first half against the second"),
]


def stacked(maps: tuple[Image, ...], operation: str) -> tuple[Array, Array]:
    """Values ``(subjects, v)`` and the mask of voxels that every map has.

    Raises
    ------
    GeometryError
        Maps on different grids.
    ParameterError
        Too few maps, or none with common voxels.
    """
    if len(maps) < 2:
        raise ParameterError(f"{operation} needs at least 2 maps; {len(maps)} given")
    for number, one in enumerate(maps, 1):
        if one.axes or one.data.dtype.kind == "c":
            raise ParameterError(f"{operation}: map {number} has the axes {one.axis_names}")
        if not one.grid.allclose(maps[0].grid):
            raise GeometryError(
                f"{operation}: map {number} is on {one.grid!r} and the first on "
                f"{maps[0].grid!r}; bring all subjects to one grid first"
            )
        if one.unit != maps[0].unit:
            raise ParameterError(
                f"{operation}: map {number} is in {one.unit!r} and the first in {maps[0].unit!r}"
            )
    data = np.stack([m.data.astype(np.float32) for m in maps])
    mask = (np.isfinite(data) & (data != 0)).all(axis=0)
    if not mask.any():
        raise ParameterError(f"{operation}: no voxel is in all {len(maps)} maps")
    return data[:, mask], mask


def arranged(
    values: Array, question: str, groups: tuple[float, ...], operation: str
) -> tuple[Array, Array | None]:
    """Values and labels of the question: differences for pairs, labels for two samples."""
    n = len(values)
    if question == "one":
        return values, None
    if question == "paired":
        if n % 2:
            raise ParameterError(f"{operation}: {n} maps make no pairs; give both of each subject")
        return values[n // 2 :] - values[: n // 2], None
    labels = np.array(groups or [0.0] * (n // 2) + [1.0] * (n - n // 2))
    if labels.shape != (n,) or not np.isin(labels, (0, 1)).all() or np.ptp(labels) == 0:
        raise ParameterError(
            f"{operation}: groups is {labels.tolist()}; give 0 or 1 for each of the {n} maps, "
            "both of them"
        )
    return values, labels


@operation("acquire.fmri.group")
def group(
    *images: Image, question: Question = "one", groups: Groups = (), progress: Progress = QUIET
) -> list[Image]:
    """Second level: effect, t and z maps of a group from one effect map per subject.

    Ordinary least squares over subjects (random effects). Voxels that are 0 in any map are left
    out.
    """
    name = "acquire.fmri.group"
    values, mask = stacked(images, name)
    values, labels = arranged(values, question, groups, name)
    progress(0.2, "fitting")
    columns = [np.ones(len(values))] if labels is None else [labels, np.ones(len(values))]
    names = ("mean",) if labels is None else ("difference", "constant")
    made = Design(np.stack(columns, axis=1), names)
    fitted = fit(values, made, mask=np.ones(values.shape[1], bool), noise="ols")
    answer = evaluate(fitted, np.eye(len(names))[:1])
    whole = []
    for values_, unit, text in (
        (answer.effect, images[0].unit, "group effect"),
        (answer.statistic, "1", "group t"),
        (answer.z, "1", "group z"),
    ):
        data = np.zeros(mask.shape, np.float32)
        data[mask] = values_
        whole.append(map_of(images[0], data, unit=unit, text=text))
    progress(1.0, "done")
    return whole


@operation("acquire.fmri.permutation")
def permutation(
    *images: Image,
    question: Question = "one",
    groups: Groups = (),
    permutations: Annotated[
        int, Param("Rearrangements; all where there are fewer", minimum=10, maximum=1_000_000)
    ] = 1000,
    sides: Annotated[Literal["positive", "both"], Param("Signs that count")] = "positive",
    enhance: Annotated[bool, Param("Threshold-free cluster enhancement")] = True,
    seed: Annotated[int, Param("Of the rearrangements", minimum=0)] = 0,
    progress: Progress = QUIET,
) -> list[Image]:
    """Second level by permutation: t map, and 1 - p corrected for all voxels.

    Signs (one sample, pairs) or labels (two samples) are rearranged; p is the share of
    rearrangements whose greatest value anywhere reaches the voxel's.
    """
    name = "acquire.fmri.permutation"
    values, mask = stacked(images, name)
    values, labels = arranged(values, question, groups, name)
    found = permute(
        values, neighbours(mask), groups=labels, permutations=permutations, seed=seed, sides=sides,
        enhance=enhance, progress=progress,
    )  # fmt: skip
    whole = []
    for values_, text in ((found.t, "group t"), (1 - found.p_tfce, "1 - corrected p")):
        data = np.zeros(mask.shape, np.float32)
        data[mask] = values_
        whole.append(map_of(images[0], data, unit="1", text=text))
    return whole
