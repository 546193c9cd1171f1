"""The parameters that operations with atlases share, each said once."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from somascope.analyze.register.presets import Name
from somascope.core import Param

Fusion: TypeAlias = Literal["joint", "weighted", "majority", "staple"]

Preset: TypeAlias = Annotated[
    Name | None,
    Param("How an atlas is registered to the image; chosen by their content when not given"),
]
Anyway: TypeAlias = Annotated[
    bool, Param("Use registrations too that are not to be trusted", advanced=True)
]
Method: TypeAlias = Annotated[
    Fusion,
    Param(
        "Joint label fusion; votes weighted by local likeness; equal votes; or STAPLE, which "
        "estimates how good each atlas is"
    ),
]
Keep: TypeAlias = Annotated[
    int, Param("Atlases that vote, those most like the image; 0: all", minimum=0, maximum=200)
]
Patch: TypeAlias = Annotated[
    float,
    Param("Half the edge of the patches compared", unit="mm", minimum=0.0, maximum=20.0),
]
Search: TypeAlias = Annotated[
    float,
    Param(
        "How far around a place its match in an atlas is looked for", unit="mm", minimum=0.0,
        maximum=20.0,
    ),
]  # fmt: skip
Alpha: TypeAlias = Annotated[
    float,
    Param("Ridge that keeps weights even", minimum=1e-6, maximum=100.0, advanced=True),
]
Beta: TypeAlias = Annotated[
    float,
    Param("Power of the differences: how sharply they decide", minimum=0.25, maximum=6.0,
          advanced=True),
]  # fmt: skip
