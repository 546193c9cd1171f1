"""ComBat on simulated sites, against the formula and against its authors' package."""

import warnings

import numpy as np
import pytest

from somascope.core import Grid, Image
from somascope.core.errors import GeometryError, ParameterError, UnitError
from somascope.process.combat import combat, combat_
from somascope.testing import check_operation


def scans(seed=0, n=24, features=300):
    """Three sites of unlike shift and scale; a covariate that matters in every feature."""
    r = np.random.default_rng(seed)
    site = np.repeat([0, 1, 2], n // 3)
    age = r.uniform(20, 80, n)
    base = r.normal(100, 10, features)
    slope = r.normal(0.5, 0.1, features)
    shift = np.array([0.0, 15.0, -10.0])[:, None] + r.normal(0, 2, (3, features))
    scale = np.array([1.0, 2.0, 0.5])[:, None] * r.uniform(0.8, 1.2, (3, features))
    noise = r.normal(0, 3, (n, features))
    clean = base + np.outer(age, slope)
    return clean + shift[site] + scale[site] * noise, site, age, slope


def test_without_pooling_means_and_variances_are_equal():
    table, site, age, _ = scans()
    out, _ = combat(table, site, covariates=age[:, None], empirical=False)
    full = np.column_stack([np.eye(3)[site], age])
    effect = np.linalg.lstsq(full, table, rcond=None)[0][3]  # of age, within the sites
    rest = (out - np.outer(age, effect)).reshape(3, 8, -1)
    np.testing.assert_allclose(rest.mean(axis=1).std(axis=0), 0, atol=1e-9)
    spread = rest.std(axis=1, ddof=1)
    np.testing.assert_allclose(spread, spread[:1].repeat(3, axis=0), rtol=1e-9)


def test_sites_vanish_and_the_covariate_stays():
    table, site, age, slope = scans()
    out, found = combat(table, site, covariates=age[:, None])
    before = np.stack([table[site == i].mean() for i in range(3)])
    full = np.column_stack([np.ones(len(age)), age])
    fitted = np.linalg.lstsq(full, out, rcond=None)[0][1]
    assert np.abs(fitted.mean() - slope.mean()) < 0.03
    assert np.corrcoef(fitted, slope)[0, 1] > 0.5
    rest = out - np.outer(age, fitted)
    after = np.stack([rest[site == i].mean() for i in range(3)])
    assert np.ptp(before) > 15
    assert np.ptp(after) < 0.5
    sds = np.stack([(out - full @ np.linalg.lstsq(full, out, rcond=None)[0])[site == i].std()
                    for i in range(3)])  # fmt: skip
    assert sds.max() / sds.min() < 1.2
    assert found.shift.shape == (3, 300)


@pytest.mark.parametrize("with_age", [False, True])
def test_equals_the_authors_package(with_age):
    package = pytest.importorskip("neuroCombat")
    pandas = pytest.importorskip("pandas")
    table, site, age, _ = scans(3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = package.neuroCombat(
            dat=table.T, covars=pandas.DataFrame({"site": site, "age": age}), batch_col="site",
            continuous_cols=["age"] if with_age else None,
        )["data"].T  # fmt: skip
    ours, _ = combat(table, site, covariates=age[:, None] if with_age else None)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-3 * table.std())


def test_shifts_alone_are_drawn_by_the_number_of_scans():
    """(n t2 g + g_bar) / (n t2 + 1); the authors' package leaves the n out and draws more."""
    table, site, _, _ = scans(4)
    out, found = combat(table, site, mean_only=True)
    free, hat = combat(table, site, mean_only=True, empirical=False)
    for i in range(3):
        g, t2 = hat.shift[i], hat.shift[i].var(ddof=1)
        np.testing.assert_allclose(found.shift[i], (8 * t2 * g + g.mean()) / (8 * t2 + 1))
    np.testing.assert_allclose(free.reshape(3, 8, -1).mean(axis=1).std(axis=0), 0, atol=1e-9)
    # scales stay: the scans of a site keep their distances
    np.testing.assert_allclose(np.diff(out[:8], axis=0), np.diff(table[:8], axis=0), atol=1e-9)


def test_equals_the_formula_written_out():
    """Johnson 2007, one feature and one scan at a time."""
    table, site, age, _ = scans(5, n=12, features=7)
    n, features = table.shape
    x = np.column_stack([np.eye(3)[site], age])
    z, g_hat, d_hat, sd, kept = (np.zeros((n, features)), np.zeros((3, features)),
                                 np.zeros((3, features)), [], np.zeros((n, features)))  # fmt: skip
    for k in range(features):
        b = np.linalg.solve(x.T @ x, x.T @ table[:, k])
        alpha = sum(b[i] * (site == i).sum() / n for i in range(3))
        sd.append(np.sqrt(sum((table[j, k] - x[j] @ b) ** 2 for j in range(n)) / n))
        for j in range(n):
            kept[j, k] = alpha + age[j] * b[3]
            z[j, k] = (table[j, k] - kept[j, k]) / sd[k]
        for i in range(3):
            g_hat[i, k] = z[site == i, k].mean()
            d_hat[i, k] = z[site == i, k].var(ddof=1)
    truth = np.zeros_like(table)
    for i in range(3):
        m = (site == i).sum()
        bar, tau = g_hat[i].mean(), g_hat[i].var(ddof=1)
        v, s = d_hat[i].mean(), d_hat[i].var(ddof=1)
        lam, theta = v**2 / s + 2, v**3 / s + v
        for k in range(features):
            g, d = g_hat[i, k], d_hat[i, k]
            for _ in range(300):
                g = (m * tau * g_hat[i, k] + d * bar) / (m * tau + d)
                d = (theta + 0.5 * ((z[site == i, k] - g) ** 2).sum()) / (m / 2 + lam - 1)
            for j in np.flatnonzero(site == i):
                truth[j, k] = sd[k] / np.sqrt(d) * (z[j, k] - g) + kept[j, k]
    ours, _ = combat(table, site, covariates=age[:, None])
    np.testing.assert_allclose(ours, truth, rtol=1e-6)


def test_images_of_sites():
    table, site, age, _ = scans(features=4 * 5 * 6)
    grid = Grid.from_spacing((4, 5, 6), (1, 1, 1))
    table[:, 7] = 3.0
    images = [Image(row.reshape(4, 5, 6).astype(np.float32), grid, "MR") for row in table]
    data = images[2].data.copy()
    data[3, 4, 5] = np.nan
    images[2] = images[2].with_data(data)
    out = combat_(*images, sites=tuple(map(float, site)), covariates=tuple(age))
    assert len(out) == len(images)
    assert {float(o.data.ravel()[7]) for o in out} == {3.0}
    assert np.isnan(out[2].data[3, 4, 5])
    assert out[1].data[3, 4, 5] == images[1].data[3, 4, 5]
    means = [np.nanmean([o.data for o, s in zip(out, site, strict=True) if s == i])
             for i in range(3)]  # fmt: skip
    assert np.ptp(means) < 12  # the ages of the sites differ, the sites no longer
    check_operation(combat_, params={"sites": [0, 0, 0, 1, 1, 1]}, inputs=tuple(images[5:11]))


def test_refusals():
    table, site, _, _ = scans(n=12, features=5)
    with pytest.raises(ParameterError, match="confounded"):
        combat(table, site, covariates=(site == 0).astype(float)[:, None])
    with pytest.raises(ParameterError, match="one site"):
        combat(table, np.zeros(12))
    with pytest.raises(ParameterError, match="one scan"):
        combat(table, np.r_[np.zeros(11), 1])
    with pytest.raises(ParameterError, match="finite"):
        combat(np.full((12, 5), np.nan), site)
    grid = Grid.from_spacing((1, 1, 5), (1, 1, 1))
    images = [Image(t.reshape(1, 1, 5), grid) for t in table]
    with pytest.raises(ParameterError, match="one site, and equally"):
        combat_(*images, sites=(0.0, 1.0))
    with pytest.raises(ParameterError, match="several scans"):
        combat_(images[0], sites=(0.0,))
    other = Image(table[0].reshape(1, 1, 5), Grid.from_spacing((1, 1, 5), (1, 1, 2)))
    with pytest.raises(GeometryError, match="one grid"):
        combat_(*images[:11], other, sites=tuple(map(float, site)))
    with pytest.raises(UnitError, match="differ"):
        combat_(*images[:11], images[11].with_data(images[11].data, unit="ms"),
                sites=tuple(map(float, site)))  # fmt: skip
    with pytest.raises(ParameterError, match="no voxel"):
        combat_(*[i.with_data(np.ones((1, 1, 5))) for i in images], sites=tuple(map(float, site)))
