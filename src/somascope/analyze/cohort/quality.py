"""What can be told of the quality of one image without a reference.

Noise is told from differences of neighbours (Immerkaer, Comput. Vis. Image Underst. 64, 1996), so
that no empty background is needed; the entropy focus criterion is Atkinson's (IEEE Trans. Med.
Imaging 16, 1997) as normalised by the MRIQC project's definition (Esteban, PLoS ONE 12, 2017).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from somascope.analyze.cohort.table import Column
from somascope.core import Image
from somascope.core.errors import ParameterError
from somascope.core.grid import Array, Float
from somascope.process.histogram import of_values
from somascope.process.thresholds import thresholds

MOST = 4_000_000
"""Voxels that are looked at; of larger volumes every n-th slice."""

COLUMNS = (
    Column("slices", "integer", "", "Along the first axis of the grid"),
    Column("rows", "integer"),
    Column("columns", "integer"),
    Column("volumes", "integer", "", "Product of the leading axes"),
    Column("spacing_z", "number", "mm"),
    Column("spacing_y", "number", "mm"),
    Column("spacing_x", "number", "mm"),
    Column("orientation", "text", "", "Letters towards which z, y and x rise"),
    Column("oblique", "number", "deg", "Largest angle of an axis to the patient's nearest"),
    Column("minimum", "number", "", "Of the values, in the image's unit"),
    Column("maximum", "number", "", "Of the values, in the image's unit"),
    Column("invalid", "number", "%", "Voxels that are not finite"),
    Column("clipped", "number", "%", "Foreground voxels at the largest value"),
    Column("foreground", "number", "%", "Voxels above Otsu's threshold"),
    Column("noise", "number", "", "Standard deviation, in the image's unit"),
    Column("snr", "number", "1", "Mean of the foreground over the noise"),
    Column("cnr", "number", "1", "Difference of the two brighter of three classes over the noise"),
    Column("efc", "number", "1", "Entropy focus criterion: 0 one bright voxel, 1 all alike"),
    Column("sharpness", "number", "1", "Gradient over that of white noise: low is blurred"),
    Column("ghosting", "number", "1", "Background energy along one axis over the other, minus 1"),
    Column("slice_jumps", "number", "1",
           "Robust deviation of the change from slice to slice: motion between slices"),
    Column("odd_even", "number", "%", "Difference of odd and even slices: interleaved motion"),
)  # fmt: skip

FLOORS = {
    "ghosting": 0.1, "slice_jumps": 1.5, "odd_even": 0.5, "foreground": 2.0, "clipped": 0.5,
}  # fmt: skip
"""Deviations of columns near 0 that are nothing: see `outliers.outlying`."""


@dataclass(frozen=True, eq=False)
class Look:
    """Values ``(nz, ny, nx)`` float64, which are foreground, and the noise."""

    values: Float
    inside: Array
    noise: float


def examined(image: Image) -> dict[str, float | int | str | None]:
    """A value for each of `COLUMNS`, None where it cannot be told.

    Of several volumes (time, echoes) the first is looked at; colours are averaged. Complex values
    are refused.

    Raises
    ------
    ParameterError
        Complex values.
    """
    if image.data.dtype.kind == "c":
        raise ParameterError("quality is told of real values; take the magnitude first")
    grid = image.grid
    every = np.asarray(image.data).reshape(-1, *grid.shape)
    colour = [a.name for a in image.axes] == ["channel"]
    volume = every.mean(axis=0) if colour else every[0]
    step = max(-(-volume.size // MOST), 1)
    few = np.asarray(volume[::step], np.float64)
    good = np.isfinite(few)
    told: dict[str, float | int | str | None] = dict.fromkeys(c.name for c in COLUMNS)
    told |= {
        "slices": grid.shape[0], "rows": grid.shape[1], "columns": grid.shape[2],
        "volumes": 1 if colour else len(every), "spacing_z": grid.spacing[0],
        "spacing_y": grid.spacing[1], "spacing_x": grid.spacing[2],
        "orientation": grid.orientation, "oblique": oblique(image),
        "invalid": 100 * float((~good).mean()),
    }  # fmt: skip
    if not good.any():
        return told
    told |= {"minimum": float(few[good].min()), "maximum": float(few[good].max())}
    if told["minimum"] == told["maximum"]:
        return told
    values = np.where(good, few, np.median(few[good]))
    inside = values > _threshold(values, 2)[0]
    told["foreground"] = 100 * float(inside.mean())
    look = Look(values, inside, noise(values))
    told |= {"noise": look.noise, "efc": focus(values - values.min())}
    top = values[inside]
    told["clipped"] = 100 * float((top >= values.max()).mean()) if top.size else None
    if look.noise > 0:
        told["snr"] = float((top.mean() - _background(look)) / look.noise)
        told["cnr"] = _contrast(look)
    told["sharpness"] = sharpness(values)
    told["ghosting"] = ghosting(look)
    if step == 1 and grid.shape[0] >= 6:
        told["slice_jumps"], told["odd_even"] = between_slices(values)
    return told


def oblique(image: Image) -> float:
    """Degrees between the grid's axes and the patient's nearest ones, the largest of three."""
    cosines = np.abs(image.grid.direction).max(axis=0)
    return float(np.degrees(np.arccos(np.clip(cosines.min(), -1, 1))))


def noise(values: Float) -> float:
    """Standard deviation of the noise, by the Laplacian of planes ``(nz, ny, nx)``.

    The difference of two Laplacians leaves edges of the first two orders out; of what it makes the
    median of absolute values is taken, which ignores the edges that are left.
    """
    if min(values.shape[1:]) < 3:
        return 0.0
    v = values
    made = (
        v[:, :-2, :-2] + v[:, :-2, 2:] + v[:, 2:, :-2] + v[:, 2:, 2:]
        - 2 * (v[:, :-2, 1:-1] + v[:, 2:, 1:-1] + v[:, 1:-1, :-2] + v[:, 1:-1, 2:])
        + 4 * v[:, 1:-1, 1:-1]
    )  # fmt: skip
    size = np.abs(made)
    # Air that was set to one value has no noise and would hide that of the body.
    moving = size[size > 0]
    return float(np.median(moving) / 0.6744897501960817 / 6) if moving.size else 0.0


def focus(values: Float) -> float:
    """Entropy focus criterion of values that are not negative: low is focused."""
    total = float(np.sqrt((values**2).sum()))
    if total == 0:
        return float("nan")
    share = values[values > 0] / total
    most = np.sqrt(values.size) * np.log(np.sqrt(values.size))
    return float(-(share * np.log(share)).sum() / most)


def sharpness(values: Float) -> float:
    """Root mean square of the in-plane gradient over that of white noise of the same variance."""
    spread = float(values.var())
    steps = [np.diff(values, axis=a) for a in (1, 2) if values.shape[a] > 1]
    if spread <= 0 or not steps:
        return float("nan")
    return float(np.sqrt(np.mean([(s**2).mean() for s in steps]) / (2 * spread)))


def ghosting(look: Look) -> float | None:
    """Background energy beside the object along one axis of the plane over that along the other.

    Ghosts of motion lie along the phase encoding: 0 is none, 1 is twice as much.
    """
    nz = look.values.shape[0]
    middle = slice(nz // 4, max(3 * nz // 4, nz // 4 + 1))
    inside: Array = np.any(look.inside[middle], axis=0)
    rows, columns = np.any(inside, axis=1), np.any(inside, axis=0)
    if rows.all() or columns.all() or not rows.any():
        return None
    plane = (look.values[middle] - np.median(look.values[middle][~look.inside[middle]])) ** 2
    energy = plane.mean(axis=0)
    beside_rows = energy[np.ix_(~rows, columns)]
    beside_columns = energy[np.ix_(rows, ~columns)]
    if beside_rows.size < 32 or beside_columns.size < 32:
        return None
    a, b = float(beside_rows.mean()), float(beside_columns.mean())
    return max(a, b) / min(a, b) - 1 if min(a, b) > 0 else None


def between_slices(values: Float) -> tuple[float, float]:
    """How much one change from slice to slice stands out, and per cent that odd and even differ.

    The first is the largest second difference of neighbouring slices (mean absolute, over the mean
    signal) in robust deviations of all of them.
    """
    second = np.abs(values[:-2] - 2 * values[1:-1] + values[2:]).mean(axis=(1, 2))
    middle = float(np.median(second))
    spread = 1.4826 * float(np.median(np.abs(second - middle))) + 0.02 * middle + 1e-12
    means = values.mean(axis=(1, 2))
    smooth = (means[:-2] + means[2:]) / 2
    signs = (-1.0) ** np.arange(len(smooth))
    level = float(np.abs(values).mean())
    comb = abs(float((signs * (means[1:-1] - smooth)).mean())) / max(level, 1e-12)
    return float((second.max() - middle) / spread), 100 * comb


def _threshold(values: Float, classes: int) -> list[float]:
    counted = of_values(np.ascontiguousarray(values, np.float32).reshape(-1))
    return thresholds(counted, method="otsu", classes=classes)


def _background(look: Look) -> float:
    """Level of the darkest values: 0 of MR, air of CT."""
    return float(np.percentile(look.values, 1))


def _contrast(look: Look) -> float | None:
    try:
        low, high = _threshold(look.values, 3)
    except ParameterError:  # two values: there is no third class
        return None
    middle = look.values[(look.values > low) & (look.values <= high)]
    bright = look.values[look.values > high]
    if not middle.size or not bright.size:
        return None
    return float((bright.mean() - middle.mean()) / look.noise)
