"""`analyze.morphometry`: where maps of many people on one template go with a group or with age."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

import numpy as np

from somascope.acquire.fmri.permutation import neighbours
from somascope.acquire.fmri.runs import map_of
from somascope.acquire.fmri.threshold import clusters
from somascope.analyze.morphometry.model import rearranged
from somascope.core import QUIET, Image, Measurement, Param, Progress, Tracking, operation
from somascope.core.errors import GeometryError, ParameterError
from somascope.core.grid import Array
from somascope.io.dicom import uid
from somascope.process.measured import measured

NAME = "analyze.morphometry"
FEWEST = 6


@operation(NAME)
def morphometry(
    *images: Image,
    effect: Annotated[
        tuple[float, ...], Param("Of each map, in order: 0 or 1 for two groups, or age, or a score")
    ],
    covariates: Annotated[
        tuple[float, ...],
        Param("What is held constant (age, sex, size of the head): all of the first map, then of "
              "the next"),
    ] = (),
    sides: Annotated[
        Literal["positive", "negative", "both"],
        Param("More tissue with the effect, less, or either"),
    ] = "both",
    least: Annotated[
        float, Param("Mean tissue of a voxel that is looked at", minimum=0.0, maximum=1.0)
    ] = 0.1,
    permutations: Annotated[
        int, Param("Rearrangements of people", minimum=20, maximum=1_000_000)
    ] = 1000,
    enhance: Annotated[bool, Param("Threshold-free cluster enhancement")] = True,
    alpha: Annotated[
        float, Param("Chance of any false voxel anywhere", minimum=0.001, maximum=0.5)
    ] = 0.05,
    seed: Annotated[int, Param("Of the rearrangements", minimum=0)] = 0,
    progress: Progress = QUIET,
) -> list[Image | Measurement]:  # fmt: skip
    """Find where tissue goes with a group, age or score: t map, corrected 1 - p, and clusters.

    Maps (of `tissue_map`) lie on one template's grid. The model has the effect, the covariates and
    a constant; people are rearranged (Freedman and Lane), and a voxel's p is the share of
    rearrangements whose greatest value anywhere reaches it. Each cluster is told by its volume,
    greatest t and least p, named by the place of its peak (LPS mm).

    Raises
    ------
    GeometryError
        Maps on different grids.
    ParameterError
        Too few maps, wrong numbers of values, an effect the covariates explain, no tissue.
    """
    values, mask = _together(images, least)
    n = len(images)
    if len(effect) != n or len(covariates) % n:
        raise ParameterError(
            f"{NAME}: {n} maps, {len(effect)} values of the effect and {len(covariates)} "
            "covariates; give one effect, and equally many covariates, for each map"
        )
    beside = np.asarray(covariates, np.float64).reshape(n, -1) if covariates else None
    found = rearranged(
        values, np.asarray(effect), neighbours(mask), nuisance=beside, permutations=permutations,
        seed=seed, sides=sides, enhance=enhance, progress=progress,
    )  # fmt: skip
    t, p = np.zeros(mask.shape, np.float32), np.ones(mask.shape, np.float32)
    t[mask], p[mask] = found.t, found.p_tfce
    sure = np.where(mask, 1 - p, 0).astype(np.float32)
    maps = [
        _map(images[0], t, "morphometry t"),
        _map(images[0], sure, f"1 - corrected p, {found.permutations} permutations"),
    ]
    return [*maps, *_clusters(maps[0], t, p, mask & (p <= alpha))]


def _map(image: Image, data: Array, text: str) -> Image:
    """A map of a group is nobody's: what names one person is left out."""
    made = map_of(image, data, unit="1", text=text)
    dropped = ("PatientAge", "PatientBirthDate", "PatientSex", "PatientWeight", "PatientSize")
    return replace(made, attributes={k: v for k, v in made.attributes.items() if k not in dropped})


def _together(images: tuple[Image, ...], least: float) -> tuple[Array, Array]:
    if len(images) < FEWEST:
        raise ParameterError(f"{NAME} needs {FEWEST} maps or more; {len(images)} given")
    first = images[0]
    for number, image in enumerate(images, 1):
        if image.axes or image.data.dtype.kind == "c":
            raise ParameterError(f"{NAME}: map {number} has the axes {image.axis_names}")
        if not image.grid.allclose(first.grid):
            raise GeometryError(
                f"{NAME}: map {number} is on {image.grid!r} and the first on {first.grid!r}; bring "
                "all to one template (analyze.tissue_map)"
            )
        if image.unit != first.unit:
            raise ParameterError(
                f"{NAME}: map {number} is in {image.unit!r} and the first in {first.unit!r}"
            )
    data = np.stack([np.asarray(i.data, np.float32) for i in images])
    with np.errstate(invalid="ignore"):
        mask = np.isfinite(data).all(axis=0) & (data.mean(axis=0) > least)
        mask &= np.ptp(data, axis=0) > 0
    if not mask.any():
        raise ParameterError(f"{NAME}: no voxel has a mean of more than {least:g} that varies")
    return data[:, mask], mask


def _clusters(image: Image, t: Array, p: Array, above: Array) -> list[Measurement]:
    made: list[Measurement] = []
    for sign in (1, -1):
        labels, found = clusters(t, above & (sign * t > 0), image.grid)
        for k, one in enumerate(found, 1):
            inside = labels == one.label
            what = "more" if sign > 0 else "less"
            l, q, s = one.position
            name = f"Cluster {k} ({what} tissue) at {l:.0f} {q:.0f} {s:.0f}"
            seen = [u.name for u in image.provenance.sources] or ["unnamed"]
            tracking = Tracking(uid.derive("cluster", *seen, name), name)
            made += [
                replace(measured(image, title, value, unit), tracking=tracking)
                for title, value, unit in (
                    ("Volume of the cluster", one.volume_mm3, "mm3"),
                    ("Greatest t", one.peak, "1"),
                    ("Least corrected p", float(p[inside].min()), "1"),
                )
            ]
    return made
