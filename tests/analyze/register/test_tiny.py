"""Tiny volumes of two contrasts: a dense part that follows noise is left out."""

import numpy as np
import pytest

from somascope.analyze.register import apply, points, register
from somascope.core import Warp
from tests.analyze.register.pairs import pair


def _overlap(clean, warp) -> float:
    """Mean Dice of the two brightness classes of the images without contrast and noise."""
    edges = (0.3, 0.6)
    moving = clean.moving.with_data(np.digitize(clean.moving.data, edges).astype(np.uint8))
    plain = Warp(matrix=warp.matrix, grid=warp.grid, displacement=warp.displacement)
    seen = apply(moving, plain, clean.fixed.grid, order="nearest").data
    truth = np.digitize(clean.fixed.data, edges)
    return float(np.mean([
        2 * ((truth == k) & (seen == k)).sum() / ((truth == k).sum() + (seen == k).sum())
        for k in (1, 2)
    ]))  # fmt: skip


@pytest.mark.parametrize("shape", [(28, 28, 28), (22, 26, 24)])
@pytest.mark.parametrize("bend", [2.0, 4.0])
@pytest.mark.parametrize("seed", [2, 3])
def test_it_is_not_worse_than_its_linear_part(shape, bend, seed):
    how = {
        "angles": (4, -3, 5), "shift": (3, -2, 2), "bend": bend, "shape": shape, "seed": seed,
        "spacing": (3.0, 3.0, 3.0),
    }  # fmt: skip
    made = pair(
        **how, noise=0.03, contrast=lambda v: np.where(v > 0.1, 1.3 - v, v) if seed == 2
        else np.sin(4 * np.clip(v, 0, 1.2)),
    )  # fmt: skip
    warp = register(made.fixed, made.moving, "multimodal")
    linear = Warp(matrix=warp.matrix)
    errors = [made.error(lambda x, w=w: points(w, x)).mean() for w in (linear, warp)]
    assert errors[1] <= errors[0] + 0.01
    clean = pair(**how, noise=0.0)
    assert _overlap(clean, warp) >= _overlap(clean, linear) - 0.002
    if warp.displacement is None:
        assert any("the dense part was left out" in n for n in warp.verdict.notes)
