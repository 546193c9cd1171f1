"""The parameters that ultrasound operations share, each said once."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from somascope.core import Param

Window: TypeAlias = Annotated[
    Literal["boxcar", "hann", "hamming", "tukey"],
    Param("Weights over the receiving aperture; boxcar is sharpest, hann has the least clutter"),
]
FNumber: TypeAlias = Annotated[
    float | None,
    Param("Depth over width of the receiving aperture, 0 for all elements; 1.5 for linear and "
          "convex probes, 0 for phased and matrix ones if not given", minimum=0.0, maximum=20.0,
          step=0.1),
]  # fmt: skip
SpeedOfSound: TypeAlias = Annotated[
    float | None,
    Param("Speed of sound assumed; that of the scan if not given", unit="m/s", minimum=300.0,
          maximum=7000.0, advanced=True),
]  # fmt: skip
Compound: TypeAlias = Annotated[
    bool, Param("Add the images of all transmits coherently; else keep one of each")
]
DynamicRange: TypeAlias = Annotated[
    float, Param("Decibels from black to white", unit="dB", minimum=1.0, maximum=200.0, step=5.0)
]
Gain: TypeAlias = Annotated[
    float, Param("Added before cutting at white", unit="dB", minimum=-100.0, maximum=100.0)
]
Output: TypeAlias = Annotated[
    Literal["grey levels", "decibel"],
    Param("8 bit for the screen, or decibels below the maximum in floating point"),
]
Part: TypeAlias = Annotated[
    Literal["complex", "magnitude"],
    Param("The echo with its phase, or its envelope (which DICOM can store)"),
]
