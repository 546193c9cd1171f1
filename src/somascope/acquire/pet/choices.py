"""The parameters that operations of PET share, each said once."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from somascope.core import Param

Size: TypeAlias = Annotated[
    int | None,
    Param("Pixels per side of a slice; the scan's own grid if not given", minimum=8, maximum=1024),
]
FieldOfView: TypeAlias = Annotated[
    float | None, Param("Side of a slice", unit="mm", minimum=1.0, maximum=2000.0)
]
Psf: TypeAlias = Annotated[
    float,
    Param(
        "Resolution of the scanner to be recovered, FWHM of a Gaussian; 0 for none",
        unit="mm", minimum=0.0, maximum=30.0, step=0.5,
    ),
]  # fmt: skip
PostFilter: TypeAlias = Annotated[
    float,
    Param(
        "Gaussian smoothing of the result, FWHM; 0 for none",
        unit="mm", minimum=0.0, maximum=50.0, step=0.5,
    ),
]  # fmt: skip
Subsets: TypeAlias = Annotated[
    int, Param("Parts into which the angles, or events, are divided", minimum=1, maximum=512)
]
Iterations: TypeAlias = Annotated[
    int, Param("Passes through all the data", minimum=1, maximum=2000)
]
