"""What a classical model reads: radiomics of an image, as one vector whose numbers have names.

Each number is ``arcsinh`` of an IBSI feature: volumes and energies reach over ten orders of
magnitude, and a linear model would see the largest only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias, cast, get_args

import numpy as np

from somascope.analyze.radiomics.names import CODES, FAMILIES
from somascope.core import Image
from somascope.core.errors import CorruptFile, ParameterError, Refused
from somascope.core.grid import Array, Float
from somascope.models.candidates import Candidates
from somascope.models.prepare import Preparation, channels_of, placed

Place: TypeAlias = Literal["whole", "foreground"]
MOST = 4096
"""Numbers of a vector."""
TEXTURED = ("firstorder", "glcm")
"""Families of filtered images."""


@dataclass(frozen=True)
class Features:
    """How an image becomes a vector; a record, so that training and use cannot differ.

    Parameters
    ----------
    names
        Of the numbers: scale, family and feature, ``original shape MeshVolume``.
    place
        ``foreground``: the largest body above Otsu's threshold, holes filled; ``whole``: all.
    families
        Of `analyze.radiomics`, of the image itself.
    scales
        Widths in voxels of Laplacians of Gaussians, whose ``firstorder`` and ``glcm`` are taken
        too (edges and spots of that size).
    levels
        Grey levels of textures.
    usual
        Median of each number over the training images: stands for one that cannot be told, and is
        what `contributions` are held against.
    candidates
        Of a detector: where it looks. The names are those of `candidates.described` then.
    """

    names: tuple[str, ...]
    place: Place = "foreground"
    families: tuple[str, ...] = FAMILIES
    scales: tuple[float, ...] = ()
    levels: int = 32
    usual: tuple[float, ...] = ()
    candidates: Candidates | None = None

    def to_record(self) -> dict[str, Any]:
        """As JSON types."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Features:
        """Read what `to_record` wrote; `CorruptFile` where it cannot be."""
        place = str(record["place"])
        made = cls(
            tuple(map(str, record["names"])), cast("Place", place),
            tuple(map(str, record["families"])), tuple(float(v) for v in record["scales"]),
            int(record["levels"]), tuple(float(v) for v in record["usual"]),
            Candidates.from_record(record["candidates"]) if record.get("candidates") else None,
        )  # fmt: skip
        if (
            place not in get_args(Place)
            or not 1 <= len(made.names) <= MOST
            or len(made.usual) != len(made.names)
            or not all(map(math.isfinite, made.usual))
            or set(made.families) - set(FAMILIES)
            or not 2 <= made.levels <= 256
            or len(made.scales) > 8
            or any(not 0.3 <= s <= 64 for s in made.scales)
        ):
            raise CorruptFile("card.json: features holds a value that no model can have")
        return made


def measured(how: Features, image: Image, preparation: Preparation) -> dict[str, float]:
    """All numbers of an image by name, before any choice among them; NaN where there is none.

    Raises
    ------
    Refused
        There is nothing in the foreground.
    """
    # Compiled code, which a network's card has no need of.
    from somascope.analyze.measure.regions import tight
    from somascope.analyze.radiomics.extract import features
    from somascope.process.edges import laplacian_

    ready = placed(channels_of(image, 1), preparation)
    volume = np.asarray(ready.data[0], np.float32)
    inside = _inside(volume, how.place)
    box = tight(inside)
    if box is None:
        raise Refused("the image has no foreground: all its values are one")
    start = tuple(b.start for b in box)
    grid = ready.grid.moved(start=start, shape=inside[box].shape, step=(1, 1, 1))
    found: dict[str, float] = {}
    spacing = ready.grid.spacing
    flat = volume.shape[0] == 1
    for scale in (0.0, *how.scales):
        title = f"log {scale:g}" if scale else "original"
        values = volume
        if scale:
            s = (0.0 if flat else scale, scale, scale)
            values = laplacian_(volume, spacing, s, flat=flat)
        families = [f for f in how.families if not scale or f in TEXTURED]
        made = features(values[box], inside[box], grid, families=families, bin_count=how.levels)
        for family, numbers in made.items():
            for name in CODES[family]:
                if name in numbers:
                    found[f"{title} {family} {name}"] = float(np.arcsinh(numbers[name]))
    return found


def _inside(volume: Array, place: Place) -> Array:
    if place == "whole":
        return np.ones(volume.shape, bool)
    from somascope.process.components import fill_holes, label
    from somascope.process.histogram import of_values
    from somascope.process.thresholds import otsu

    counted = of_values(np.ascontiguousarray(volume).reshape(-1))
    if np.count_nonzero(counted.counts) < 2:
        raise Refused("the image has no foreground: all its values are one")
    labels, counts = label(volume > otsu(counted)[0])
    if not counts.size:
        raise Refused("the image has no foreground above Otsu's threshold")
    return fill_holes(labels == 1)


def vector(how: Features, image: Image, preparation: Preparation) -> Array:
    """The numbers that the model reads, ``(n,)`` float32; what cannot be told is the usual one.

    Raises
    ------
    Refused
        Nothing to measure.
    """
    try:
        found = measured(how, image, preparation)
    except ParameterError as error:
        raise Refused(f"the image cannot be measured: {error}") from error
    values = np.array([found.get(n, np.nan) for n in how.names])
    return filled(values, np.asarray(how.usual)).astype(np.float32)


def filled(values: Float, usual: Float) -> Float:
    """``values`` with the usual one wherever one is not finite."""
    return np.where(np.isfinite(values), values, usual)
