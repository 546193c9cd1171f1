"""Registration on torch tensors, on torch's CPU device, beside the arrays."""

from __future__ import annotations

import numpy as np
import pytest

from somascope.analyze.register import points, register
from somascope.analyze.register.affine import stage
from somascope.core.errors import ParameterError
from tests.analyze.register.pairs import pair

torch = pytest.importorskip("torch")

from somascope.analyze.register import affine, dense, engine  # noqa: E402
from somascope.analyze.register.field import Smoothness, solve  # noqa: E402
from somascope.analyze.register.levels import levels  # noqa: E402

SMALL = {"shape": (24, 28, 26), "spacing": (5.0, 4.5, 4.5)}


def apart(one, other, made) -> np.ndarray:
    x = made.fixed.grid.to_world(np.argwhere(made.inside)[::5])
    return np.linalg.norm(points(one, x) - points(other, x), axis=1)


@pytest.mark.parametrize("mutual", [False, True])
def test_the_sums_of_the_linear_part(mutual):
    made = pair(angles=(3, -2, 4), shift=(2, -1, 3), **SMALL)
    grid = made.fixed.grid
    here = stage((made.fixed.data, grid), (made.moving.data, grid), 4.5)
    there = here.on("cpu")
    # No point on a voxel, where the slope jumps and the last bit decides which one it is.
    b = here.into(np.eye(4)) + 0.02 * np.random.default_rng(0).random((3, 4))
    score, table = affine.measured(here, b)
    other, found = affine.measured(there, b)
    assert other == pytest.approx(score, rel=1e-5)
    assert np.abs(found - table).max() < 1e-3 * np.abs(table).max()
    mine = np.tril(affine._equations(here, b, table, mutual, 4))
    theirs = np.tril(affine._equations(there, b, table, mutual, 4))
    size = np.sqrt(np.outer(np.diag(mine), np.diag(mine))) + 1e-9
    assert (np.abs(mine - theirs) / size).max() < 1e-4  # single precision


@pytest.mark.parametrize("patches", [False, True])
@pytest.mark.parametrize("shape", [(9, 13, 11), (1, 17, 14)])
def test_one_step_of_the_dense_part(shape, patches):
    made = pair(bend=3.0, shape=shape, spacing=(5.0, 4.5, 4.0))
    grid = made.fixed.grid
    seen = made.moving.data.copy()
    seen[..., -1] = np.nan  # where nothing is known
    weight = np.random.default_rng(0).random(shape).astype(np.float32)
    both = levels((made.fixed.data, grid), (seen, grid), (4.0,), weight=weight)
    how = dense.Dense((4.0,), (2,), (1,), patches=patches, window=2.0)
    cell = np.array([min(2, n) for n in shape], np.int64)
    lattice = tuple(-(-n // c) for n, c in zip(shape, cell, strict=True))
    v = np.random.default_rng(1).standard_normal((3, *lattice)).astype(np.float32)
    if shape[0] == 1:
        v[0] = 0
    ours, theirs = (dense._compared(both, np.eye(4), how, device)[0] for device in (None, "cpu"))
    distance = np.asarray(grid.spacing) * cell.astype(float)
    prior = Smoothness(lattice, distance, 0.1, 2.0)
    from somascope.analyze.register.field import exponential

    found = []
    for compared, way in ((ours, v), (theirs, torch.from_numpy(v))):
        fields = [exponential(way, distance, factor=f) for f in (0.5, -0.5)]
        blocks, right = compared.equations(*fields, cell, cell)
        right = right - prior.gradient(way)
        step = solve(blocks, right, prior, iterations=12)
        found.append([np.asarray(a) for a in (blocks, right, step)])
    for mine, other in zip(*found, strict=True):
        # Both in single precision, sums in another order.
        assert np.abs(mine - other).max() < 2e-3 * np.abs(mine).max()


@pytest.mark.parametrize(
    ("preset", "bend"), [("rigid", 0.0), ("deformable", 4.0), ("multimodal", 4.0)]
)
def test_it_is_the_same_call(preset, bend, monkeypatch):
    # The dense part is to stay, whatever it is worth in voxels of 5 mm.
    monkeypatch.setattr(engine, "informed", lambda *_, **__: 1.0)
    monkeypatch.setattr(engine, "_needed", lambda *_: 0.98)
    made = pair(angles=(5, -4, 6), shift=(4, -3, 5), bend=bend, **SMALL)
    mine = register(made.fixed, made.moving, preset)
    other = register(made.fixed, made.moving, preset, device="cpu")
    # A hundredth of a voxel where maps are linear; descents that end a step apart where they bend.
    assert apart(mine, other, made).max() < (0.05 if preset == "rigid" else 0.5)
    assert apart(mine, other, made).mean() < 0.1
    for found in (mine, other):
        assert (found.displacement is None) == (preset == "rigid"), found.verdict.text
    assert other.verdict.trusted == mine.verdict.trusted


def test_landmarks_pull_there_too():
    made = pair(bend=4.0, **SMALL)
    marks = made.fixed.grid.to_world([[8, 8, 8], [14, 18, 10], [10, 14, 18], [16, 10, 14]])
    seen = marks + np.array([[0, 3, 0], [0, -3, 0], [2, 0, 0], [-2, 0, 0]], float)
    maps = [
        register(made.fixed, made.moving, "deformable", landmarks=(marks, seen), device=device)
        for device in (None, "cpu")
    ]
    assert np.linalg.norm(points(maps[0], marks) - points(maps[1], marks), axis=1).max() < 0.3


def test_a_device_that_is_not_there_is_refused():
    made = pair(**SMALL)
    for name in ("abacus", "cuda:77"):
        with pytest.raises(ParameterError, match="there is no device"):
            register(made.fixed, made.moving, "rigid", device=name)
