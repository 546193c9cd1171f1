"""Quality: noise that was put in is told, and what was spoiled on purpose stands out."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from somascope.analyze.cohort.outliers import inconsistent, outlying, robust_z
from somascope.analyze.cohort.quality import COLUMNS, examined, noise, oblique
from somascope.analyze.cohort.table import table_of
from somascope.core import Axis, Grid, Image
from somascope.core.errors import ParameterError


def head(*, sigma=10.0, shape=(16, 64, 64), seed=0, signal=300.0):
    rng = np.random.default_rng(seed)
    z, y, x = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    body = 1.0 * (x**2 + y**2 < 0.5) + 0.5 * (x**2 + y**2 < 0.2) + 0 * z
    values = signal * gaussian_filter(body, (0, 1, 1)) + rng.normal(0, sigma, shape)
    return Image(values.astype(np.float32), Grid.from_spacing(shape, (3, 1, 1)), "MR")


@pytest.mark.parametrize("sigma", [3.0, 10.0, 30.0])
def test_noise_is_what_was_put_in(sigma):
    told = examined(head(sigma=sigma))
    assert told["noise"] == pytest.approx(sigma, rel=0.08)
    pure = np.random.default_rng(1).normal(0, sigma, (4, 80, 80))
    assert noise(pure) == pytest.approx(sigma, rel=0.03)


def test_every_column_is_told():
    told = examined(head())
    assert set(told) == {c.name for c in COLUMNS}
    assert all(v is not None for v in told.values())
    assert told["orientation"] == "SPL"
    assert told["oblique"] == pytest.approx(0)


def test_what_is_spoiled_stands_out():
    good = head()
    fine = examined(good)
    blurred = examined(good.with_data(gaussian_filter(good.data, (0, 2, 2))))
    assert blurred["sharpness"] < 0.7 * fine["sharpness"]
    jumped = good.data.copy()
    jumped[8] = np.roll(jumped[8], 6, axis=0)
    assert examined(good.with_data(jumped))["slice_jumps"] > 12 > fine["slice_jumps"]
    striped = good.data.copy()
    striped[::2] *= 1.2
    assert examined(good.with_data(striped))["odd_even"] > 5 > fine["odd_even"]
    ghost = good.data + 0.15 * np.roll(good.data, 32, axis=1)
    assert examined(good.with_data(ghost))["ghosting"] > 3 * fine["ghosting"] + 0.3
    noisy = examined(head(sigma=40.0))
    assert noisy["snr"] < 0.4 * fine["snr"]
    assert noisy["cnr"] < 0.5 * fine["cnr"]
    assert noisy["efc"] > fine["efc"]
    clipped = examined(good.with_data(np.minimum(good.data, 150)))
    assert clipped["clipped"] > 20 > fine["clipped"]


def test_edges_of_what_can_be_told():
    flat = Image(np.ones((1, 8, 8)), Grid.from_spacing((1, 8, 8), (1, 1, 1)))
    assert examined(flat)["snr"] is None
    holes = head().data.copy()
    holes[:, :10] = np.nan
    assert examined(head().with_data(holes))["invalid"] == pytest.approx(100 * 10 / 64)
    assert examined(flat.with_data(np.full((1, 8, 8), np.nan)))["minimum"] is None
    with pytest.raises(ParameterError, match="magnitude"):
        examined(flat.with_data(np.ones((1, 8, 8), complex)))
    grid = flat.grid
    film = Image(np.random.default_rng(0).random((5, 1, 8, 8)), grid, axes=(Axis("t"),))
    assert examined(film)["volumes"] == 5
    turned = grid.affine.copy()
    c, s = np.cos(0.2), np.sin(0.2)
    turned[:3, :3] = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ turned[:3, :3]
    tilted = Image(flat.data, Grid(grid.shape, turned))
    assert oblique(tilted) == pytest.approx(np.degrees(0.2))


def test_outliers_by_robust_deviations():
    values = np.array([10.0, 11, 9, 10, 10.5, 9.5, 60])
    z = robust_z(values)
    assert z[6] == pytest.approx((60 - 10) / (1.4826 * 0.5))
    assert np.abs(z[:6]).max() < 3
    assert np.abs(robust_z(np.array([5.0, 5, 5, 5, 5.01]))).max() < 3.5  # alike all the same
    rows = [{"modality": "MR", "snr": float(v)} for v in values]
    rows += [{"modality": "CT", "snr": 60.0} for _ in range(6)]
    (odd,) = outlying(table_of(rows), ["snr"])
    assert (odd.row, odd.column, odd.group) == (6, "snr", "MR")


def test_a_protocol_that_differs_is_named():
    rows = [{"modality": "MR", "protocol": "T1", "TE": 3.0, "orientation": "SPL"} for _ in range(5)]
    rows[3]["TE"] = 9.0
    rows[4]["orientation"] = "LPS"
    rows[2]["TE"] = 3.01  # within two per cent
    odd = inconsistent(table_of(rows), ["TE", "orientation"])
    found = {(o.row, o.column, o.said, o.usual) for o in odd}
    assert found == {(3, "TE", "9", "3"), (4, "orientation", "LPS", "SPL")}
