"""`Image`: values that know where they are, what they mean and where they came from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Never

import numpy as np

from somascope.core.errors import GeometryError, NotFound
from somascope.core.grid import Array, Grid
from somascope.core.provenance import Provenance, Step


@dataclass(frozen=True)
class Axis:
    """A leading axis: its name (``t``, ``echo``, ``coil``, ``b``, ``channel``...) and coordinates.

    ``values`` has one number per entry (seconds for ``t``, ms for ``echo``, s/mm2 for ``b``) or is
    empty where only the count is known; ``unit`` is their UCUM code.
    """

    name: str
    values: tuple[float, ...] = ()
    unit: str = "1"


@dataclass(frozen=True, eq=False)
class Image:
    """An array on a `Grid`.

    Parameters
    ----------
    data
        Shape ``(*leading, nz, ny, nx)``; made read-only. 2-D images have ``nz = 1``; colour is a
        leading axis named ``channel`` with three entries R, G, B (uint8 or uint16).
    grid
        Where the last three axes are.
    modality
        DICOM modality code (``CT``, ``MR``, ``PT``...), ``OT`` where unknown.
    unit
        UCUM code of the values (``[hnsf'U]`` for Hounsfield units, ``Bq/ml``, ``g/ml`` for SUVbw,
        ``mm2/s``, ``1`` for arbitrary values).
    axes
        One `Axis` per leading axis of ``data``, in order.
    provenance
        Where it came from, and each step since.
    attributes
        Facts about patient, study and acquisition under their DICOM keywords (``PatientName``,
        ``StudyInstanceUID``, ``EchoTime``...), values in JSON types.
    """

    data: Array
    grid: Grid
    modality: str = "OT"
    unit: str = "1"
    axes: tuple[Axis, ...] = ()
    provenance: Provenance = field(default_factory=Provenance)
    attributes: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def __post_init__(self) -> None:
        data = np.asarray(self.data)
        if data.shape[-3:] != self.grid.shape:
            raise GeometryError(
                f"Image.data has shape {data.shape} but its grid is {self.grid.shape}; the last "
                "three axes of data must be (nz, ny, nx) of the grid"
            )
        if data.dtype.kind not in "buifc":
            raise GeometryError(f"Image.data has dtype {data.dtype}; give numbers")
        if len(self.axes) != data.ndim - 3:
            raise GeometryError(
                f"Image.data of shape {data.shape} has {data.ndim - 3} leading axes but "
                f"{len(self.axes)} are named ({[a.name for a in self.axes]}); name each one"
            )
        for axis, n in zip(self.axes, data.shape, strict=False):
            if axis.values and len(axis.values) != n:
                raise GeometryError(
                    f"Axis {axis.name!r} has {len(axis.values)} values for {n} entries of data"
                )
        view = data.view()
        view.setflags(write=False)
        object.__setattr__(self, "data", view)
        object.__setattr__(self, "attributes", MappingProxyType(dict(self.attributes)))

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of ``data``."""
        return self.data.shape

    @property
    def axis_names(self) -> tuple[str, ...]:
        """Names of all axes of ``data``, e.g. ``("t", "z", "y", "x")``."""
        return (*(a.name for a in self.axes), "z", "y", "x")

    def __getitem__(self, key: object) -> Never:
        raise GeometryError(
            f"image[{key!r}] would lose the grid; use image.data[...] for bare numbers, "
            "image.at(t=3) for one entry of a named axis, or image.crop(...) for a region"
        )

    def __iter__(self) -> Never:
        raise GeometryError("an Image is not iterable; iterate over image.data, or use image.at()")

    def __array__(self, *args: object, **kwargs: object) -> Never:
        raise GeometryError("np.asarray(image) would lose the grid; use image.data")

    def with_data(self, data: Array, *, step: Step | None = None, unit: str | None = None) -> Image:
        """Same place, other values; ``step`` is appended to the provenance."""
        return replace(
            self,
            data=data,
            unit=self.unit if unit is None else unit,
            provenance=self.provenance if step is None else self.provenance.then(step),
        )

    def at(self, **index: int) -> Image:
        """One entry of one or more leading axes: ``image.at(t=3)``."""
        names = [a.name for a in self.axes]
        for name, i in index.items():
            if name not in names:
                raise NotFound(f"image has no axis {name!r}; its leading axes are {names}")
            size = self.data.shape[names.index(name)]
            if not 0 <= i < size:
                raise GeometryError(f"{name}={i} is outside 0..{size - 1}")
        key = tuple(index.get(name, slice(None)) for name in names)
        rest = tuple(a for a in self.axes if a.name not in index)
        return replace(self, data=self.data[key], axes=rest)

    def crop(
        self, *, start: Sequence[int], stop: Sequence[int], step: Sequence[int] = (1, 1, 1)
    ) -> Image:
        """The sub-volume ``[start:stop:step]`` in ``(z, y, x)`` indices, grid moved along."""
        for a, b, n, s in zip(start, stop, self.grid.shape, step, strict=True):
            if not (0 <= a < b <= n and s > 0):
                raise GeometryError(
                    f"crop {tuple(start)}..{tuple(stop)} step {tuple(step)} leaves the grid "
                    f"{self.grid.shape}; give 0 <= start < stop <= size and positive steps"
                )
        key = tuple(slice(a, b, s) for a, b, s in zip(start, stop, step, strict=True))
        data = self.data[(..., *key)]
        grid = self.grid.moved(start=start, shape=data.shape[-3:], step=step)
        return replace(self, data=data, grid=grid)

    def __repr__(self) -> str:
        shape = "x".join(map(str, self.shape))
        axes = " ".join(self.axis_names)
        return (
            f"Image({self.modality} {shape} ({axes}) {self.data.dtype} [{self.unit}], {self.grid})"
        )
