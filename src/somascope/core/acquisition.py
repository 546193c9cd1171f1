"""`Operator` and `Acquisition`: samples that know how they were made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from somascope.core.grid import Array
from somascope.core.provenance import Provenance


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


@dataclass(frozen=True, eq=False)
class Acquisition:
    """Detector samples, shape ``operator.range``, and the operator that describes them."""

    samples: Array
    operator: Operator
    modality: str
    provenance: Provenance = field(default_factory=Provenance)
    attributes: Mapping[str, Any] = field(default_factory=dict[str, Any])
