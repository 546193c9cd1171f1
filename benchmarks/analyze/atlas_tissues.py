"""``atlas.tissues``: tissues of brains whose shares are known; peer a mixture without neighbours.

The peer is scikit-learn's Gaussian mixture on the image after N4: no mixed voxels, no neighbours,
no shading in turn.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.turns import compared
from somascope.analyze.atlas.brain import tissues
from somascope.core import Image, Mask, Segment
from somascope.phantoms import brain_grid
from somascope.phantoms.partial import brain_fractions, brain_mixture
from somascope.process.bias import n4

Array = np.ndarray


def mixture(image: Image) -> Array:
    """Labels of three Gaussians, fluid the darkest."""
    from sklearn.mixture import GaussianMixture

    inside = image.data > 0
    mask = Mask(data=inside.astype(np.uint8), grid=image.grid, segments=(Segment(1, "Brain"),))
    values = n4(image, mask).data[inside][:, None].astype(np.float64)
    model = GaussianMixture(
        3, random_state=0, means_init=np.percentile(values, (5, 40, 85))[:, None]
    )
    found = model.fit(values[:: max(len(values) // 50_000, 1)]).predict(values)
    rank = np.argsort(np.argsort(np.asarray(model.means_)[:, 0])) + 1
    out = np.zeros(image.grid.shape, np.uint8)
    out[inside] = rank[found]
    return out


def run(*, small: bool) -> Iterator[dict[str, Any]]:
    """Mean Dice at 1.5 mm; shares of voxels in the case."""
    size = (48, 64, 52) if small else (104, 136, 112)
    scale = 0.5 if small else 1.0
    grid = brain_grid(size, tuple(d / scale for d in (1.6, 1.5, 1.45)))
    shares = brain_fractions(grid)
    shares = np.where(shares.sum(axis=0) >= 0.5, shares, 0)
    truth = np.where(shares.sum(axis=0) > 0, shares.argmax(axis=0) + 1, 0)
    inside = truth > 0
    whole = shares[:, inside] / shares[:, inside].sum(axis=0)

    def overlap(found: Array) -> float:
        return float(np.mean([
            2 * ((found == k) & (truth == k)).sum() / ((found == k).sum() + (truth == k).sum())
            for k in (1, 2, 3)
        ]))  # fmt: skip

    for noise, bias in ((0.03, 0.2),) if small else ((0.03, 0.2), (0.05, 0.4), (0.09, 0.2)):
        image = brain_mixture(shares, grid, noise=noise, bias=bias, seed=3)
        parts = tissues(image, output="fractions").data[:, inside]
        wrong = float(np.sqrt(((parts - whole) ** 2).mean()))
        yield compared(
            "atlas.tissues",
            f"{int(inside.sum()) // 1000} k voxels, noise {noise}, shading {bias}: error of shares "
            f"{wrong:.3f}",
            ours=lambda image=image: tissues(image).data, peer=lambda image=image: mixture(image),
            package="scikit-learn", quality=overlap, metric="mean Dice of three tissues",
            rounds=1 if small else 2,
        )  # fmt: skip
