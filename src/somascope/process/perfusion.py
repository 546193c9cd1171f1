"""Perfusion of the brain from a bolus: dynamic susceptibility MR and CT.

Flow, volume, mean transit time and the time of the residue's maximum, by deconvolution with the
arterial curve (`deconvolution`).
"""

from __future__ import annotations

from typing import Annotated, TypeAlias

import numpy as np

from somascope.core import QUIET, Image, Mask, Param, Progress, operation
from somascope.core.errors import ParameterError, UnitError
from somascope.core.grid import Array, Float
from somascope.process.bolus import arrival, evenly, seconds, supply
from somascope.process.deconvolution import peak, residues
from somascope.process.series import map_image
from somascope.process.windows import HOUNSFIELD

FLOW, VOLUME = "ml/min/(100.g)", "ml/(100.g)"

Oscillation: TypeAlias = Annotated[
    float,
    Param("Greatest oscillation of the residue function (oSVD); lower is smoother",
          minimum=0.005, maximum=1.0, advanced=True),
]  # fmt: skip
Baseline: TypeAlias = Annotated[
    int, Param("Images before the bolus; 0: found from the mean curve", minimum=0, maximum=1000)
]
ArteryVoxels: TypeAlias = Annotated[
    int, Param("Voxels of the artery where no mask names it", minimum=1, maximum=1000)
]
ArterySegment: TypeAlias = Annotated[
    int, Param("Segment of the mask that is the artery", minimum=1, maximum=65535)
]
VeinSegment: TypeAlias = Annotated[
    int,
    Param("Segment of the mask that is a vein: the artery's curve is scaled to the vein's area, "
          "which no partial volume has lowered; 0: none", minimum=0, maximum=65535),
]  # fmt: skip
Haematocrit: TypeAlias = Annotated[
    float,
    Param("(1 - haematocrit of large vessels) / (1 - of small ones)", minimum=0.3, maximum=1.0,
          advanced=True),
]  # fmt: skip
Density: TypeAlias = Annotated[
    float, Param("Of tissue", unit="g/ml", minimum=0.5, maximum=2.0, advanced=True)
]


@operation("process.dsc_perfusion")
def dsc_perfusion(
    image: Image,
    *masks: Mask,
    echo_time: Annotated[
        float | None,
        Param("None: EchoTime of the image, else 1 ms (it does not change the maps)", unit="ms",
              minimum=0.1),
    ] = None,
    baseline: Baseline = 0,
    artery_voxels: ArteryVoxels = 10,
    artery: ArterySegment = 1,
    vein: VeinSegment = 0,
    threshold: Annotated[
        float,
        Param("Voxels whose baseline is below this share of the brightest are left at 0",
              minimum=0.0, maximum=1.0),
    ] = 0.1,
    oscillation: Oscillation = 0.065,
    haematocrit: Haematocrit = 0.733,
    density: Density = 1.04,
    progress: Progress = QUIET,
) -> list[Image]:  # fmt: skip
    """Perfusion maps of a gadolinium bolus in T2*-weighted MR: flow, volume, transit time, Tmax.

    ``dR2* = -ln(S / S0) / TE`` stands for concentration; flow by block-circulant deconvolution (Wu
    et al. 2003), which a delay of the bolus does not change. Axis ``t`` in s. Gives CBF in
    ml/min/(100 g), CBV in ml/(100 g), MTT and Tmax in s. The artery is a segment of the mask, or
    found by the shape of its curve. Deconvolution smooths: flow reads low where transit is short
    against the time between images, and Tmax late.
    """
    when, values = seconds(image, "process.dsc_perfusion")
    if (values < 0).any():
        raise ParameterError("process.dsc_perfusion: negative values; give magnitudes")
    first = values[: max(len(when) // 12, 2)].mean(axis=0).reshape(-1)
    bright = first > threshold * max(float(np.quantile(first, 0.995)), 1e-30)
    before = baseline or arrival(values.reshape(len(when), -1)[:, bright].T)
    _enough(before, len(when), "process.dsc_perfusion")
    start = values[:before].mean(axis=0, dtype=np.float64).reshape(-1)
    chosen = start > threshold * max(float(np.quantile(start, 0.995)), 1e-30)
    progress(0.1, "baseline")
    time = echo_time or _number(image.attributes.get("EchoTime")) or 1.0
    rows = values.reshape(len(when), -1)[:, chosen].T.astype(np.float64)
    floor = 1e-3 * start[chosen][:, None]
    rows = -np.log(np.maximum(rows, floor) / start[chosen][:, None]) / (time * 1e-3)
    return _maps(
        image, masks, when, rows, chosen, name="process.dsc_perfusion",
        artery_voxels=artery_voxels, artery=artery, vein=vein, oscillation=oscillation,
        factor=haematocrit / density, drop=("EchoTime",), progress=progress,
    )  # fmt: skip


@operation("process.ct_perfusion")
def ct_perfusion(
    image: Image,
    *masks: Mask,
    baseline: Baseline = 0,
    artery_voxels: ArteryVoxels = 10,
    artery: ArterySegment = 1,
    vein: VeinSegment = 0,
    lower: Annotated[float, Param("Baseline of tissue is at least", unit="[hnsf'U]")] = -20.0,
    upper: Annotated[float, Param("Baseline of tissue is at most", unit="[hnsf'U]")] = 200.0,
    oscillation: Oscillation = 0.065,
    haematocrit: Haematocrit = 0.733,
    density: Density = 1.04,
    progress: Progress = QUIET,
) -> list[Image]:
    """Perfusion maps of an iodine bolus in CT: flow, volume, transit time, Tmax.

    The rise above the baseline in HU is proportional to iodine; flow by block-circulant
    deconvolution (Wu et al. 2003), which a delay of the bolus does not change. Axis ``t`` in s,
    values in HU. Gives CBF in ml/min/(100 g), CBV in ml/(100 g), MTT and Tmax in s. The artery (and
    a vein) are segments of the mask, or the artery is found by the shape of its curve.
    """
    if image.unit != HOUNSFIELD:
        raise UnitError(
            f"process.ct_perfusion: the image is in {image.unit!r}; give Hounsfield units"
        )
    when, values = seconds(image, "process.ct_perfusion")
    first = values[: max(len(when) // 12, 2)].mean(axis=0)
    organ = (first > lower) & (first < upper)
    if not organ.any():
        raise ParameterError(
            f"process.ct_perfusion: no voxel's baseline lies between {lower:g} and {upper:g} HU"
        )
    before = baseline or arrival(values[:, organ].T)
    _enough(before, len(when), "process.ct_perfusion")
    start = values[:before].mean(axis=0, dtype=np.float64).reshape(-1)
    chosen = (start >= lower) & (start <= upper)
    progress(0.1, "baseline")
    rows = values.reshape(len(when), -1)[:, chosen].T.astype(np.float64) - start[chosen][:, None]
    return _maps(
        image, masks, when, rows, chosen, name="process.ct_perfusion",
        artery_voxels=artery_voxels, artery=artery, vein=vein, oscillation=oscillation,
        factor=haematocrit / density, drop=(), progress=progress,
    )  # fmt: skip


def flow(
    rows: Float, curve: Float, step: float, *, factor: float, oscillation: float | None = 0.065
) -> tuple[Float, Float, Float, Float]:
    """CBF, CBV, MTT and Tmax of concentration curves ``(voxels, n)`` and the artery's ``(n,)``.

    ``factor`` is the haematocrit ratio over the density (ml/g). Volume is the ratio of areas; MTT
    is volume over flow.
    """
    height, when = peak(residues(rows, curve, step, oscillation=oscillation), step)
    area = float(curve.sum() - 0.5 * (curve[0] + curve[-1]))
    own = rows.sum(axis=1) - 0.5 * (rows[:, 0] + rows[:, -1])
    volume = 100.0 * factor * np.maximum(own / area, 0.0)
    rate = 6000.0 * factor * np.maximum(height, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        transit = np.where(rate > 0, 60.0 * volume / rate, 0.0)
    return rate, volume, transit, when


def _maps(
    image: Image,
    masks: tuple[Mask, ...],
    when: Float,
    rows: Float,
    chosen: Array,
    *,
    name: str,
    artery_voxels: int,
    artery: int,
    vein: int,
    oscillation: float,
    factor: float,
    drop: tuple[str, ...],
    progress: Progress,
) -> list[Image]:
    if not chosen.any():
        raise ParameterError(f"{name}: no voxel takes part; lower the threshold")
    step, rows = evenly(when, rows)
    curve, _ = supply(rows, chosen, image, masks, segment=artery, count=artery_voxels, name=name)
    if vein:
        drained, _ = supply(rows, chosen, image, masks, segment=vein, count=1, name=name)
        if drained.sum() > 0 and curve.sum() > 0:
            curve = curve * max(float(drained.sum() / curve.sum()), 1.0)
    progress(0.3, "artery")
    found = flow(rows, curve, step, factor=factor, oscillation=oscillation)
    progress(0.9, "deconvolved")
    kinds = (("CBF", FLOW), ("CBV", VOLUME), ("MTT", "s"), ("Tmax", "s"))
    dropped = (
        *drop, "TemporalPositionIdentifier", "AcquisitionTime", "WindowCenter", "WindowWidth",
        "ContentTime", "VOILUTFunction",
    )  # fmt: skip
    maps = [
        map_image(image, "t", values, chosen, unit=unit, description=word, drop=dropped)
        for values, (word, unit) in zip(found, kinds, strict=True)
    ]
    progress(1.0, "maps")
    return maps


def _enough(before: int, total: int, name: str) -> None:
    if before > total - 4:
        raise ParameterError(
            f"{name}: {before} of {total} images are baseline; at least four must follow"
        )


def _number(value: object) -> float | None:
    try:
        found = float(value)  # pyright: ignore[reportArgumentType]
    except (TypeError, ValueError):
        return None
    return found if found > 0 else None
