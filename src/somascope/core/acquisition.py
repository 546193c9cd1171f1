"""`Operator` and `Acquisition`: samples that know how they were made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Protocol, runtime_checkable

import numpy as np

from somascope.core.errors import GeometryError
from somascope.core.grid import Array, Grid
from somascope.core.provenance import Provenance, Step


@runtime_checkable
class Operator(Protocol):
    """A linear map ``y = A x`` between arrays, with its adjoint.

    The whole contract is ``<A x, y> = <x, A^H y>`` and linearity;
    `somascope.testing.check_operator` checks it for any implementation.
    """

    @property
    def domain(self) -> tuple[int, ...]:
        """Shape of ``x``."""
        ...

    @property
    def range(self) -> tuple[int, ...]:
        """Shape of ``y``."""
        ...

    def forward(self, x: Array) -> Array:
        """``A x``, shape ``range``."""
        ...

    def adjoint(self, y: Array) -> Array:
        """``A^H y``, shape ``domain``."""
        ...


@runtime_checkable
class Scan(Operator, Protocol):
    """An operator that a scanner stands for: it knows its image space and can be written down.

    ``kind`` is its name under the entry-point group ``somascope.operators`` (``ct.parallel``,
    ``mri.cartesian``, ...); ``build_operator(kind, description)`` makes an equal one, so that an
    acquisition can be kept in a file or an archive.
    """

    @property
    def kind(self) -> str:
        """Its name in the registry."""
        ...

    @property
    def grid(self) -> Grid:
        """Where the image is that ``forward`` takes; its shape is the end of ``domain``."""
        ...

    def describe(self) -> dict[str, Any]:
        """The keyword arguments that make it again: JSON values, NumPy arrays and `Grid`."""
        ...


@dataclass(frozen=True, eq=False)
class Acquisition:
    """Detector samples and the operator that describes how they came from an image.

    Parameters
    ----------
    samples
        Shape ``operator.range``; made read-only.
    operator
        The ideal, linear model. Where the samples still need corrections to fit it (counts before
        the logarithm), ``unit`` says so.
    modality
        DICOM modality code (``CT``, ``MR``, ``DX``, ``PT``, ``NM``, ``US``).
    unit
        UCUM code of the samples: ``{counts}`` for raw detector counts, ``1`` for line integrals
        and for arbitrary values.
    calibration
        What was measured alongside and corrects the samples, by name: ``flat``, ``dark``,
        ``noise``, ``defects``, ``navigator``, ``sensitivities``, ``attenuation``, ``randoms``...
    provenance, attributes
        As for `Image`: sources and steps; facts under DICOM keywords.
    """

    samples: Array
    operator: Operator
    modality: str
    unit: str = "1"
    calibration: Mapping[str, Array] = field(default_factory=dict[str, Array])
    provenance: Provenance = field(default_factory=Provenance)
    attributes: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def __post_init__(self) -> None:
        samples = np.asarray(self.samples)
        if samples.shape != tuple(self.operator.range):
            raise GeometryError(
                f"Acquisition.samples has shape {samples.shape} but its operator measures "
                f"{tuple(self.operator.range)}; check the number of views, coils or detector bins"
            )
        object.__setattr__(self, "samples", _frozen(samples))
        kept = {name: _frozen(np.asarray(a)) for name, a in self.calibration.items()}
        object.__setattr__(self, "calibration", MappingProxyType(kept))
        object.__setattr__(self, "attributes", MappingProxyType(dict(self.attributes)))

    def with_samples(
        self,
        samples: Array,
        *,
        operator: Operator | None = None,
        unit: str | None = None,
        step: Step | None = None,
    ) -> Acquisition:
        """Other samples (and operator, where their shape changed) of the same examination."""
        return replace(
            self,
            samples=samples,
            operator=self.operator if operator is None else operator,
            unit=self.unit if unit is None else unit,
            provenance=self.provenance if step is None else self.provenance.then(step),
        )


def _frozen(array: Array) -> Array:
    view = array.view()
    view.setflags(write=False)
    return view
