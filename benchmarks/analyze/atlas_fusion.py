"""``atlas.fusion`` and ``atlas.staple``: votes of atlases, and raters' performance.

Fusion's peer is the published loop over patches, compiled: every patch of the search summed by
itself. STAPLE's is ITK's, which walks over all voxels in each round.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numba
import numpy as np
from scipy.ndimage import gaussian_filter

from benchmarks.turns import compared
from somascope.analyze.atlas import patches, staple

Array = np.ndarray

PATCH, SEARCH = (2, 2, 2), (3, 3, 3)
ATLASES = 5
DIRECT = 32
"""Edge up to which the direct loop is run: it takes minutes beyond."""


@numba.njit(nogil=True, fastmath=True, cache=True)
def direct(
    target: Array, atlas: Array, tm: Array, ts: Array, am: Array, as_: Array, margin: int,
    radius: int, offsets: Array, best: Array,
) -> None:  # fmt: skip
    """The best correlation at each voxel, patch by patch."""
    nz, ny, nx = best.shape
    n = (2 * radius + 1) ** 3
    for z in range(nz):
        for y in range(ny):
            for x in range(nx):
                most = np.float32(-2)
                for k in range(offsets.shape[0]):
                    az = z + margin + offsets[k, 0]
                    ay = y + margin + offsets[k, 1]
                    ax = x + margin + offsets[k, 2]
                    s = np.float32(0)
                    for dz in range(-radius, radius + 1):
                        for dy in range(-radius, radius + 1):
                            for dx in range(-radius, radius + 1):
                                s += (
                                    target[z + margin + dz, y + margin + dy, x + margin + dx]
                                    * atlas[az + dz, ay + dy, ax + dx]
                                )
                    t = (z + margin, y + margin, x + margin)
                    alike = (s / n - tm[t] * am[az, ay, ax]) * (ts[t] * as_[az, ay, ax])
                    most = max(most, alike)
                best[z, y, x] = most


def volumes(edge: int) -> list[Array]:
    """A target and atlases of smooth noise that have half of their texture in common."""
    rng = np.random.default_rng(edge)
    common = gaussian_filter(rng.normal(size=(edge,) * 3), 1.5)
    return [
        (common + gaussian_filter(rng.normal(size=(edge,) * 3), 1.5)).astype(np.float32)
        for _ in range(ATLASES + 1)
    ]


def fusion(*, small: bool) -> Iterator[dict[str, Any]]:
    """Best patches of five atlases at rising sizes; up to 32^3 beside the loop, then alone."""
    margin = tuple(p + s for p, s in zip(PATCH, SEARCH, strict=True))
    offsets = patches.shifts(SEARCH, (1.0, 1.0, 1.0))
    for edge in (16,) if small else (16, 32, 64, 96):
        ready = [patches.prepared(v, PATCH, (5, 5, 5)) for v in volumes(edge)]
        assert margin == (5, 5, 5)

        def ours(ready: list[patches.Prepared] = ready) -> Array:
            return patches.search(
                ready[0], ready[1:], patch=PATCH, margin=(5, 5, 5), offsets=offsets
            )[0]

        def peer(ready: list[patches.Prepared] = ready, edge: int = edge) -> Array:
            out = np.empty((len(ready) - 1, edge, edge, edge), np.float32)
            t = ready[0]
            for k, a in enumerate(ready[1:]):
                direct(
                    t.values, a.values, t.mean, t.scale, a.mean, a.scale, 5, PATCH[0], offsets,
                    out[k],
                )  # fmt: skip
            return out

        work = ATLASES * len(offsets) * edge**3
        measured = compared(
            "atlas.fusion", f"{edge}^3, {ATLASES} atlases, 5^3 patches, 7^3 search", ours=ours,
            peer=peer if edge <= DIRECT else None,
            package="the direct loop (numba)" if edge <= DIRECT else "itself",
            versions=lambda _: numba.__version__,
            quality=lambda found: float(found.mean()), metric="mean best correlation",
            rounds=1 if small else 3,
        )  # fmt: skip
        each = measured["ours_ms"]["min"] * 1e6 / work
        measured["case"] += f", {each:.2f} ns a voxel, shift and atlas"
        yield measured


def drawn(edge: int, raters: int, labels: int) -> list[Array]:
    """Outlines of nested shells, each rater wrong in its own share of a seam."""
    rng = np.random.default_rng(raters)
    z, y, x = np.meshgrid(*[np.linspace(-1, 1, edge)] * 3, indexing="ij")
    radius = np.sqrt(z**2 + y**2 + x**2)
    edges = np.linspace(0.8, 0.3, labels - 1)
    found: list[Array] = []
    for _ in range(raters):
        own = radius + rng.normal(0, 0.03) + 0.05 * rng.normal(size=radius.shape)
        found.append(np.asarray([own < e for e in edges]).sum(axis=0).astype(np.uint8))
    return found


def staple_(*, small: bool) -> Iterator[dict[str, Any]]:
    """Two labels and four, five raters."""
    import SimpleITK

    for edge, labels in ((24, 2), (24, 4)) if small else ((96, 2), (96, 4)):
        outlines = drawn(edge, 5, labels)
        images = [SimpleITK.GetImageFromArray(o) for o in outlines]
        peer: Callable[[], Array] = partial(_two if labels == 2 else _many, images)

        def ours(outlines: list[Array] = outlines) -> Array:
            return staple(outlines).labels

        reference = peer()

        def same(found: Array, reference: Array = reference) -> float:
            return float((found == reference).mean())

        yield compared(
            "atlas.staple", f"{edge}^3, 5 raters, {labels} labels", ours=ours, peer=peer,
            package="SimpleITK", quality=same, metric="voxels with the label of ITK's",
            rounds=1 if small else 3,
        )  # fmt: skip


def _two(images: list[Any]) -> Array:
    import SimpleITK

    made = SimpleITK.GetArrayFromImage(SimpleITK.STAPLE(images, 1.0))
    return (made > 0.5).astype(np.uint8)


def _many(images: list[Any]) -> Array:
    import SimpleITK

    return SimpleITK.GetArrayFromImage(SimpleITK.MultiLabelSTAPLE(images))
