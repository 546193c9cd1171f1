"""The parameters that SPECT reconstructions share, each said once."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from somascope.core import Param

Attenuation: TypeAlias = Annotated[
    bool,
    Param("Correct for attenuation, where the scan has a map (acquire.spect.attenuation)"),
]  # fmt: skip
Resolution: TypeAlias = Annotated[
    bool, Param("Model the collimator's response, which widens with distance")
]
Scatter: TypeAlias = Annotated[
    bool, Param("Take account of the scatter that was estimated (acquire.spect.scatter)")
]
Iterations: TypeAlias = Annotated[int, Param("Number of iterations", minimum=1, maximum=1000)]
Subsets: TypeAlias = Annotated[
    int, Param("Parts of the views, each an update of its own", minimum=1, maximum=128)
]
Smooth: TypeAlias = Annotated[
    float,
    Param("Full width at half maximum of a Gaussian over the result; 0 for none", unit="mm",
          minimum=0.0, maximum=50.0),
]  # fmt: skip
DecayTo: TypeAlias = Annotated[
    Literal["scan start", "injection"], Param("Moment at which the activity is given")
]
