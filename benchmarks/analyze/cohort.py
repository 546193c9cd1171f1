"""A group effect with covariates at every voxel, by permutation; peer nilearn."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.turns import compared
from somascope.acquire.fmri.permutation import Permuted, neighbours
from somascope.analyze.morphometry.model import rearranged


def people(count: int, shape: tuple[int, int, int]) -> tuple[np.ndarray, ...]:
    """Maps ``(people, v)`` with an effect in a corner, groups, and age and size of the head."""
    rng = np.random.default_rng(0)
    group = np.repeat([0.0, 1.0], [count - count // 2, count // 2])
    beside = np.stack([rng.uniform(40, 80, count), rng.normal(1, 0.1, count)], axis=1)
    maps = rng.normal(size=(count, *shape)) + 0.02 * beside[:, 0, None, None, None]
    maps[:, : shape[0] // 3] -= group[:, None, None, None]
    return maps.reshape(count, -1), group, beside


def run(*, small: bool = False) -> Iterator[dict[str, Any]]:
    from nilearn.mass_univariate import permuted_ols

    count, shape, times = (12, (6, 8, 8), 20) if small else (60, (40, 48, 40), 200)
    maps, group, beside = people(count, shape)
    near = neighbours(np.ones(shape, bool))

    def ours() -> Permuted:
        return rearranged(maps, group, near, nuisance=beside, permutations=times, enhance=False)

    def peer() -> np.ndarray:
        found = permuted_ols(
            group[:, None], maps, beside, model_intercept=True, n_perm=times, n_jobs=1,
            output_type="dict", random_state=0,
        )  # fmt: skip
        return found["t"][0]

    truth = ours().t

    def furthest(outcome: Any) -> float:
        t = outcome.t if isinstance(outcome, Permuted) else outcome
        return float(np.abs(t - truth).max())

    yield compared(
        "cohort.permutation", f"{count} maps of {'x'.join(map(str, shape))}, {times} orders",
        ours=ours, peer=peer, package="nilearn", quality=furthest,
        metric="largest difference of t from ours", rounds=1 if small else 3,
    )  # fmt: skip
