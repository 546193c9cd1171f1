"""Monte Carlo dropout without PyTorch: a network looks again and again with some of itself off.

A graph exported here has, in the place of each dropout, a factor that is an input with a default
of ones: left out, the graph is the plain network; given, every value of it switches off (0) what
dropout would have switched off in training, and raises the rest by ``1 / (1 - rate)``. One draw is
one network, the same for all tiles of a volume.

Source: Gal and Ghahramani, Dropout as a Bayesian Approximation, ICML 2016.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from somascope.core.grid import Array
from somascope.models.engine import Engine

NAME = re.compile(r"keep_(\d+)_(0\.\d+)")
"""Of the inputs: their number, and the rate at which values are switched off."""
LARGEST = 1 << 24
"""Values of one factor."""


def named(number: int, rate: float) -> str:
    """Name of the input that stands for dropout number ``number`` with ``rate`` in (0, 1)."""
    return f"keep_{number}_{rate:.6f}"


@dataclass(frozen=True)
class Gate:
    """One of these inputs: its name, its shape, the part of its values that is switched off."""

    name: str
    shape: tuple[int, ...]
    rate: float


def gates(optional: Mapping[str, tuple[int, ...]]) -> tuple[Gate, ...]:
    """Those among inputs that may be left out, by name and shape."""
    found: list[Gate] = []
    for name, shape in sorted(optional.items()):
        match = NAME.fullmatch(name)
        if match and shape and min(shape) > 0 and np.prod(shape) <= LARGEST:
            found.append(Gate(name, shape, float(match[2])))
    return tuple(found)


class Thinned:
    """An engine with one draw of its dropouts (an `Engine`); equal seeds draw equally."""

    def __init__(self, engine: Engine, drawn: tuple[Gate, ...], *, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.name = f"{engine.name}, thinned"
        self._engine = engine
        self._kept: dict[str, Array] = {
            g.name: (rng.random(g.shape) >= g.rate).astype(np.float32) / np.float32(1 - g.rate)
            for g in drawn
        }

    def __call__(self, inputs: Mapping[str, Array]) -> list[Array]:
        """Run the thinned network once."""
        return self._engine({**inputs, **self._kept})
