"""`Michelogram`: which ring pairs a sinogram plane holds (segments, span)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from somascope.core.errors import GeometryError
from somascope.core.grid import Array, Float


@dataclass(frozen=True)
class Michelogram:
    """Planes of a 3-D sinogram, ordered by segment 0, +1, -1, +2, ... and in it by position.

    A segment joins ``span`` neighbouring ring differences (second ring minus first); within it a
    plane joins the ring pairs of equal mean position. ``span = 1`` keeps every ring pair apart.
    """

    rings: int
    span: int = 1
    max_ring_difference: int | None = None

    def __post_init__(self) -> None:
        most = self.rings - 1 if self.max_ring_difference is None else self.max_ring_difference
        if self.rings < 1 or not 0 <= most < self.rings:
            raise GeometryError(
                f"a ring difference of {most} among {self.rings} rings; give 0 to {self.rings - 1}"
            )
        if self.span < 1 or self.span % 2 == 0:
            raise GeometryError(f"span is {self.span}; give an odd number: 1, 3, 5, ...")
        object.__setattr__(self, "max_ring_difference", int(most))

    @property
    def segments(self) -> tuple[int, ...]:
        """Segment numbers in order."""
        assert self.max_ring_difference is not None
        half = self.span // 2
        top = max(0, -(-(self.max_ring_difference - half) // self.span))
        return (0, *(s * k for k in range(1, top + 1) for s in (1, -1)))

    @cached_property
    def pairs(self) -> tuple[tuple[tuple[int, int], ...], ...]:
        """Per plane the ring pairs ``(first, second)`` it holds."""
        assert self.max_ring_difference is not None
        found: list[tuple[tuple[int, int], ...]] = []
        n = self.rings
        for segment in self.segments:
            middle, half = segment * self.span, self.span // 2
            low = max(middle - half, -self.max_ring_difference)
            high = min(middle + half, self.max_ring_difference)
            for total in range(2 * n - 1):
                plane = tuple(
                    ((total - d) // 2, (total + d) // 2)
                    for d in range(low, high + 1)
                    if (total - d) % 2 == 0 and 0 <= total - d < 2 * n and 0 <= total + d < 2 * n
                )
                if plane:
                    found.append(plane)
        return tuple(found)

    def __len__(self) -> int:
        return len(self.pairs)

    @cached_property
    def segment(self) -> Array:
        """Segment of each plane, int32 ``(planes,)``."""
        table = self.table
        assert self.max_ring_difference is not None
        found = np.zeros(len(self), np.int32)
        for p, pairs in enumerate(self.pairs):
            r1, r2 = pairs[0]
            d = r2 - r1
            found[p] = np.sign(d) * ((abs(d) + self.span // 2) // self.span)
        assert table.max() < len(found)
        return found

    @cached_property
    def table(self) -> Array:
        """Plane of each ring pair, int32 ``(rings, rings)``; -1 where it is not kept."""
        found = np.full((self.rings, self.rings), -1, np.int32)
        for p, pairs in enumerate(self.pairs):
            for r1, r2 in pairs:
                found[r1, r2] = p
        return found

    @cached_property
    def multiplicity(self) -> Array:
        """Ring pairs in each plane, float32 ``(planes,)``."""
        return np.array([len(p) for p in self.pairs], np.float32)

    @cached_property
    def mean_rings(self) -> Float:
        """Mean first and second ring of each plane, ``(planes, 2)``."""
        return np.array([np.mean(p, axis=0) for p in self.pairs])

    def planes_of(self, segment: int) -> Array:
        """Numbers of the planes of one segment, in order of position."""
        return np.flatnonzero(self.segment == segment)
