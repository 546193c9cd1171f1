"""From an image to the array a network was trained on: the same code for training and for use."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from somascope.core import Grid, Image
from somascope.core.errors import CorruptFile
from somascope.core.grid import Array
from somascope.models.onnxfile import ELEMENTS
from somascope.process.geometry import nearest
from somascope.process.resample import Order, resample

UNLEVELLED = ("none", "range")
"""Ways of `scaled` that need to know nothing of the image as a whole."""
Scaling: TypeAlias = Literal["none", "range", "zscore", "percentile", "minmax"]


@dataclass(frozen=True)
class Preparation:
    """How an image becomes a network's input; a record, so that training and use cannot differ.

    Parameters
    ----------
    orient
        Turn a volume's axes to (z to the head, y to the back, x to the left) first.
    spacing
        Resample to this voxel edge ``(dz, dy, dx)`` in mm; empty: as it is.
    size
        Pad to this shape's aspect, then resample to the shape ``(z, y, x)``: whole-image
        classification. Empty: as it is.
    longest
        Resample so that the longer side in the plane has this many pixels (pictures whose pixel
        size nobody knows); 0: as it is.
    scaling
        ``range``: (low, high) to (0, 1); ``zscore``: minus the image's mean, over its standard
        deviation; ``percentile``: clipped to the image's 0.5 and 99.5 percentiles, then zscore;
        ``minmax``: the image's smallest and largest value to (0, 1); ``none``.
    low, high
        Of ``range``; values outside are clipped.
    """

    orient: bool = False
    spacing: tuple[float, ...] = ()
    size: tuple[int, ...] = ()
    longest: int = 0
    scaling: Scaling = "zscore"
    low: float = 0.0
    high: float = 1.0

    def digest(self) -> str:
        """SHA-256 of the record: equal digests prepare equally."""
        text = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Preparation:
        """From the JSON object of a card or plan."""
        strange = set(record) - set(asdict(cls()))
        if strange or record.get("scaling") not in get_args(Scaling):
            raise CorruptFile(
                f"preparation {dict(record)!r} has an unknown field or scaling; update Somascope"
            )
        made = cls(
            orient=bool(record["orient"]),
            spacing=tuple(float(v) for v in record["spacing"]),
            size=tuple(int(v) for v in record["size"]),
            longest=int(record["longest"]),
            scaling=record["scaling"],
            low=float(record["low"]),
            high=float(record["high"]),
        )
        sizes = (*made.size, made.longest or 1)
        if (
            len(made.spacing) not in (0, 3)
            or len(made.size) not in (0, 3)
            or any(not 0.001 < v < 1000 for v in made.spacing)
            or any(not 1 <= v <= 8192 for v in sizes)
            or math.prod(made.size) > ELEMENTS
            or not made.low < made.high
        ):
            raise CorruptFile(f"preparation {dict(record)!r} has a size or range that cannot be")
        return made


def towards(grid: Grid) -> tuple[int, ...]:
    """The grid's axes that run most along head, back and left of the patient, each once."""
    return tuple(nearest(grid)[::-1])


def oriented(image: Image) -> Image:
    """The same voxels with axes towards head, back and left, whichever is nearest; no resampling.

    Left and right stay where they are in the patient: the grid is turned with the data.
    """
    wanted = image.grid.affine[:3, :3][::-1]  # rows S, P, L: one for each wanted axis
    order = towards(image.grid)
    lead = image.data.ndim - 3
    data = image.data.transpose(*range(lead), *(lead + a for a in order))
    affine = image.grid.affine.copy()
    affine[:, :3] = affine[:, list(order)]
    shape = tuple(image.grid.shape[a] for a in order)
    grid = Grid((shape[0], shape[1], shape[2]), affine, image.grid.frame_of_reference)
    steps = [1 if wanted[i, order[i]] >= 0 else -1 for i in range(3)]
    start = [0 if s > 0 else n - 1 for s, n in zip(steps, shape, strict=True)]
    data = data[(..., *(slice(None, None, s) for s in steps))]
    return replace(image, data=data, grid=grid.moved(start=start, shape=shape, step=steps))


def padded(image: Image, shape: tuple[int, int, int], *, edge: bool = False) -> Image:
    """In the middle of a larger lattice; around it the outer values (``edge``), else zeros (the
    smallest value where there are negative ones).
    """
    before = [max(n - m, 0) // 2 for n, m in zip(shape, image.grid.shape, strict=True)]
    after = [max(n - m, 0) - b for n, m, b in zip(shape, image.grid.shape, before, strict=True)]
    if not any(before) and not any(after):
        return image
    lead = image.data.ndim - 3
    widths = [(0, 0)] * lead + list(zip(before, after, strict=True))
    fill = min(float(image.data.min()), 0.0)
    data = (
        np.pad(image.data, widths, mode="edge")
        if edge
        else np.pad(image.data, widths, constant_values=fill)
    )
    grid = image.grid.moved(start=[-b for b in before], shape=data.shape[-3:], step=(1, 1, 1))
    return replace(image, data=data, grid=grid)


def placed(image: Image, how: Preparation, *, order: Order = "linear") -> Image:
    """Turned and resampled as ``how`` says, values untouched otherwise."""
    flat = image.grid.shape[0] == 1
    if how.orient and not flat:
        image = oriented(image)
    if how.spacing:
        near = np.allclose(image.grid.spacing[flat:], how.spacing[flat:], rtol=0.01)
        if not near:
            image = resample(image, spacing=how.spacing, order=order)
    if how.longest:
        spacing = np.asarray(image.grid.spacing)
        factor = max(image.grid.shape[1:]) / how.longest
        if factor != 1.0:
            wanted = (spacing[0], spacing[1] * factor, spacing[2] * factor)
            image = resample(image, spacing=wanted, order=order)
    if how.size and image.grid.shape != how.size:
        scale = max(n / m for n, m in zip(image.grid.shape, how.size, strict=True))
        box = tuple(max(round(m * scale), n) for n, m in zip(image.grid.shape, how.size,
                                                             strict=True))  # fmt: skip
        image = padded(image, (1 if flat else box[0], box[1], box[2]))
        wanted = tuple(
            s * n / m
            for s, n, m in zip(image.grid.spacing, image.grid.shape, how.size, strict=True)
        )
        image = resample(image, spacing=wanted, order=order)
    return image


@dataclass(frozen=True)
class Levels:
    """What `scaled` reads off an image as a whole; given from outside for a part of an image.

    Values are clipped to ``low`` and ``high``; ``mean`` and ``deviation`` are of what is left.
    """

    low: float
    high: float
    mean: float
    deviation: float


def levels_of(values: Array, how: Preparation) -> Levels:
    """Of an array ``(..., z, y, x)``, slice by slice so that no second volume is held."""
    low, high = -math.inf, math.inf
    if how.scaling == "minmax":
        low, high = float(values.min()), float(values.max())
        return Levels(low, high, low, max(high - low, 1e-6))
    if how.scaling == "percentile":
        found = np.percentile(values, (0.5, 99.5))
        if found[1] > found[0]:
            low, high = (float(np.float32(v)) for v in found)
    slices = np.moveaxis(values, -3, 0) if values.ndim > 2 else values[None]
    total = sum(float(_clipped(s, low, high).sum(dtype=np.float64)) for s in slices)
    mean = total / values.size
    squares = sum(
        float(((_clipped(s, low, high) - np.float32(mean)) ** 2).sum(dtype=np.float64))
        for s in slices
    )
    return Levels(low, high, mean, max(math.sqrt(squares / values.size), 1e-6))


def _clipped(values: Array, low: float, high: float) -> Array:
    values = values.astype(np.float32)
    return values if low == -math.inf else np.clip(values, np.float32(low), np.float32(high))


def scaled(values: Array, how: Preparation, *, levels: Levels | None = None) -> Array:
    """Float32 in the range the network was trained on.

    ``levels``: of the whole image that ``values`` are a part of; default: of ``values``.
    """
    values = values.astype(np.float32)  # a copy; the rest is in place
    if how.scaling == "range":
        values -= np.float32(how.low)
        values /= np.float32(how.high - how.low)
        return np.clip(values, np.float32(0), np.float32(1), out=values)
    if how.scaling == "none":
        return values
    whole = levels or levels_of(values, how)
    if whole.low > -math.inf:
        np.clip(values, np.float32(whole.low), np.float32(whole.high), out=values)
    values -= np.float32(whole.mean)
    values /= np.float32(whole.deviation)
    return values


def channels_of(image: Image, channels: int) -> Image:
    """Gray or colour as the network wants it: luminance (Rec. 601), or gray three times."""
    data = image.data
    colour = [a.name for a in image.axes] == ["channel"] and data.shape[0] == 3
    data = data if colour else data.reshape(1, *image.grid.shape)
    if colour and channels == 1:
        weights = np.asarray((0.299, 0.587, 0.114), np.float32)
        data = np.tensordot(weights, data.astype(np.float32), axes=1)[None]
    elif not colour and channels == 3:
        data = np.repeat(data, 3, axis=0)
    from somascope.core import Axis

    return replace(image, data=data, axes=(Axis("channel"),))


def prepared(
    image: Image, how: Preparation, *, channels: int, levels: Levels | None = None
) -> Image:
    """The image as the network sees it: float32 ``(channels, z, y, x)`` on its own grid.

    ``levels``: of the whole image that this one is a part of.
    """
    image = placed(channels_of(image, channels), how)
    return replace(image, data=scaled(image.data, how, levels=levels))
