"""The parameters that reconstructions of CT share, each said once."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from somascope.acquire.ct import filters
from somascope.core import Param

Kernel: TypeAlias = Annotated[
    filters.Kernel,
    Param("Window on the ramp filter, from sharp to smooth"),
]
Cutoff: TypeAlias = Annotated[
    float,
    Param(
        "Where the filter ends, as a share of the detector's Nyquist frequency",
        minimum=0.05, maximum=1.0, step=0.05,
    ),
]  # fmt: skip
Size: TypeAlias = Annotated[
    int | None,
    Param("Pixels per side of a slice; the scan's own grid if not given", minimum=8, maximum=8192),
]
FieldOfView: TypeAlias = Annotated[
    float | None, Param("Side of a slice", unit="mm", minimum=1.0, maximum=2000.0)
]
Unit: TypeAlias = Annotated[Literal["HU", "1/mm"], Param("Unit of the result")]
MuWater: TypeAlias = Annotated[
    float | None,
    Param(
        "Attenuation of water; that of the scan, or of 70 keV, if not given",
        unit="/mm", minimum=1e-4, maximum=1.0, advanced=True,
    ),
]  # fmt: skip
Relaxation: TypeAlias = Annotated[
    float, Param("Length of each step; stable below 2", minimum=0.01, maximum=1.99, step=0.05)
]
Positive: TypeAlias = Annotated[bool, Param("Allow no attenuation below zero")]
