"""Parameters that several segmentations share."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from somascope.core import Param

Points: TypeAlias = Annotated[
    tuple[float, ...],
    Param("Points in the object: L, P, S of each, one after the other", unit="mm"),
]
Outside: TypeAlias = Annotated[
    tuple[float, ...],
    Param("Points outside of it: L, P, S of each, one after the other", unit="mm"),
]
Background: TypeAlias = Annotated[
    int,
    Param("Segment of the scribbles that marks what is outside; 0: none does", minimum=0,
          maximum=65535),
]  # fmt: skip
Rounds: TypeAlias = Annotated[int, Param("Most steps", minimum=1, maximum=20000, advanced=True)]
Rounding: TypeAlias = Annotated[
    float,
    Param("How much the border is rounded: bodies and corners of a smaller radius give way",
          unit="mm", minimum=0.0, maximum=50.0, step=0.1),
]  # fmt: skip
Edge: TypeAlias = Annotated[
    float,
    Param("Scale of the edges: width of the Gaussian before the gradient", unit="mm", minimum=0.0,
          maximum=50.0, step=0.1),
]  # fmt: skip
Neighbours: TypeAlias = Annotated[
    Literal[6, 18, 26], Param("Faces; and edges; and corners", advanced=True)
]
Name: TypeAlias = Annotated[str, Param("Name of the segment")]
