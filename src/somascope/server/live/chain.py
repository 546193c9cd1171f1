"""A chain of operations on frames: each step's time, and frames of bounded size."""

from __future__ import annotations

import time
from collections.abc import Sequence

from somascope.core import Image
from somascope.core.errors import GeometryError
from somascope.process.chain import ChainStep, names, parse

__all__ = ["MOST_PIXELS", "ChainStep", "names", "parse", "run", "small"]

MOST_PIXELS = 1024 * 1024
"""Of one frame, at every stage."""


def run(image: Image, steps: Sequence[ChainStep], stages: dict[str, float]) -> Image:
    """The frame after all steps; their milliseconds go into ``stages``, in order."""
    for number, step in enumerate(steps):
        began = time.perf_counter()
        image = step.operation.function(image, **step.params)
        small(image, step.operation.name)
        key = step.name if step.name not in stages else f"{step.name} {number + 1}"
        stages[key] = (time.perf_counter() - began) * 1e3
    return image


def small(image: Image, what: str) -> None:
    """Refuse frames that are no picture of bounded size."""
    pixels = image.grid.shape[1] * image.grid.shape[2]
    if image.grid.shape[0] != 1 or pixels > MOST_PIXELS:
        raise GeometryError(
            f"{what} gives frames of {image.grid.shape}; live frames are planes of at most "
            f"{MOST_PIXELS} pixels"
        )
