"""Regression, harmonisation and survival against NumPy, SciPy and a published example."""

import numpy as np
import pytest
from scipy import stats

from somascope.analyze.cohort import harmonised, regressed
from somascope.analyze.cohort.survival import kaplan_meier, log_rank
from somascope.analyze.cohort.table import table_of
from somascope.core.errors import ParameterError


def cohort(n=80, *, seed=0, slope=-0.3, shift=5.0, spread=1.0):
    """A volume that falls with age; the second site measures more."""
    rng = np.random.default_rng(seed)
    age, site = rng.uniform(20, 80, n), rng.integers(0, 2, n)
    noise = rng.normal(size=n) * np.where(site == 1, spread, 1.0)
    volume = 100 + slope * age + shift * site + noise
    sex = np.array(["F", "M"])[rng.integers(0, 2, n)]
    return table_of([
        {"patient": f"p{i}", "age": float(a), "site": f"site {s}", "sex": str(x),
         "volume": float(v), "other": float(v + e)}
        for i, (a, s, x, v, e) in enumerate(zip(age, site, sex, volume, rng.normal(size=n),
                                                strict=True))
    ])  # fmt: skip


def test_one_column_is_scipys_line():
    table = cohort()
    found = regressed(table, "volume", ["age"])
    line = stats.linregress(table.numbers("age"), table.numbers("volume"))
    age = found.terms[1]
    assert (age.effect, age.error, age.p) == pytest.approx((line.slope, line.stderr, line.pvalue))
    assert found.r2 == pytest.approx(line.rvalue**2)
    assert age.partial == pytest.approx(line.rvalue)


def test_age_with_site_and_sex_beside_it():
    table = cohort()
    found = regressed(table, "volume", ["age", "site", "sex"])
    x = np.column_stack([
        np.ones(80), table.numbers("age"), [t == "site 1" for t in table.texts("site")],
        [t == "M" for t in table.texts("sex")],
    ]).astype(float)  # fmt: skip
    beta, (rss,), *_ = np.linalg.lstsq(x, table.numbers("volume"), rcond=None)
    assert [t.effect for t in found.terms] == pytest.approx(beta)
    error = np.sqrt(np.diag(np.linalg.inv(x.T @ x)) * rss / 76)
    assert [t.error for t in found.terms] == pytest.approx(error)
    told = {t.name: t for t in found.terms}
    assert told["age"].low < -0.3 < told["age"].high
    assert told["site: site 1"].low < 5 < told["site: site 1"].high
    assert told["sex: M"].p > 0.001


def test_what_says_the_same_is_named():
    table = cohort(20)
    twin = table.having(table.columns[table.at("age")].__class__("years", "number"),
                        table.values("age"))  # fmt: skip
    with pytest.raises(ParameterError, match="age, years say the same"):
        regressed(twin, "volume", ["age", "sex", "years"])
    with pytest.raises(ParameterError, match="3 patients do not determine"):
        regressed(table.only([i < 3 for i in range(20)]), "volume", ["age", "sex", "other"])
    with pytest.raises(ParameterError, match="Name a column"):
        regressed(table, "volume", [])


def test_sites_are_brought_together_and_age_is_kept():
    table = cohort(200, shift=12.0, spread=3.0)
    made = harmonised(table, ["volume", "other"], "site", keep=["age"])
    site = np.array(table.texts("site")) == "site 1"
    left = {}
    for name, t in (("before", table), ("after", made)):
        line = np.polyfit(t.numbers("age"), t.numbers("volume"), 1)
        rest = t.numbers("volume") - np.polyval(line, t.numbers("age"))
        left[name] = abs(rest[site].mean() - rest[~site].mean())
        assert line[0] == pytest.approx(-0.3, abs=0.1)
    assert left["before"] > 10
    assert left["after"] < 1
    with pytest.raises(ParameterError, match="one site"):
        harmonised(table.only(site), ["volume"], "site")


def test_missing_values_leave_their_row_out():
    table = cohort(40)
    ages = [None if i < 5 else v for i, v in enumerate(table.values("age"))]
    holes = table.having(table.columns[table.at("age")], ages)
    assert regressed(holes, "volume", ["age"]).patients == 35


GEHAN_6MP = ([6, 6, 6, 7, 10, 13, 16, 22, 23, 6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35],
             [1] * 9 + [0] * 12)  # fmt: skip
GEHAN_PLACEBO = ([1, 1, 2, 2, 3, 4, 4, 5, 5, 8, 8, 8, 8, 11, 11, 12, 12, 15, 17, 22, 23], [1] * 21)


def test_survival_of_the_leukaemia_trial():
    """Freireich et al., Blood 21 (1963): the textbook example of Kaplan-Meier and log-rank."""
    curve = kaplan_meier(*GEHAN_6MP)
    assert curve.times.tolist() == [6, 7, 10, 13, 16, 22, 23]
    assert curve.alive == pytest.approx(
        [0.8571, 0.8067, 0.7529, 0.6902, 0.6275, 0.5378, 0.4482], abs=1e-4
    )
    assert curve.median == 23
    assert kaplan_meier(*GEHAN_PLACEBO).median == 8
    sure = stats.ecdf(stats.CensoredData.right_censored(
        np.array(GEHAN_6MP[0], float), np.array(GEHAN_6MP[1]) == 0)).sf  # fmt: skip
    band = sure.confidence_interval(0.95, method="log-log")
    for time, low, high in zip(curve.times, curve.low, curve.high, strict=True):
        k = list(sure.quantiles).index(time)
        assert low == pytest.approx(band.low.probabilities[k], abs=1e-6)
        assert high == pytest.approx(band.high.probabilities[k], abs=1e-6)
    times = GEHAN_6MP[0] + GEHAN_PLACEBO[0]
    events = GEHAN_6MP[1] + GEHAN_PLACEBO[1]
    chi, free, p = log_rank(times, events, ["a"] * 21 + ["b"] * 21)
    assert chi == pytest.approx(16.79, abs=0.01)
    assert (free, p) == (1, pytest.approx(4.17e-5, rel=0.01))


def test_wrong_times_are_refused():
    with pytest.raises(ParameterError, match="not negative"):
        kaplan_meier([1, -1], [1, 0])
    with pytest.raises(ParameterError, match=r"1 .* or 0"):
        kaplan_meier([1, 2], [1, 2])
    with pytest.raises(ParameterError, match="nothing happened"):
        log_rank([1, 2], [0, 0], ["a", "b"])
