"""Groups, corrections, effects: against SciPy, closed forms and published examples."""

import numpy as np
import pytest
from scipy import stats

from somascope.analyze.cohort import adjusted, compared
from somascope.analyze.cohort.groups import anova, bootstrap_mean, cliff, hedges, welch
from somascope.analyze.cohort.table import table_of
from somascope.core.errors import NotFound, ParameterError


def cohort(seed=0, groups=(0.0, 1.0), n=15, rows=1):
    rng = np.random.default_rng(seed)
    return table_of([
        {"patient": f"{g}-{i}", "group": "abc"[g], "value": float(v), "noise": float(rng.normal())}
        for g, mean in enumerate(groups)
        for i, v in enumerate(rng.normal(mean, 1 + g, n))
        for _ in range(rows)
    ])  # fmt: skip


@pytest.mark.parametrize("seed", range(3))
def test_two_groups_as_scipy_tells(seed):
    table = cohort(seed)
    (found,) = compared(table, "value", "group")
    a, b = found.values
    t = stats.ttest_ind(b, a, equal_var=False)
    assert found.tests[0].statistic == pytest.approx(t.statistic)
    assert found.tests[0].p == pytest.approx(t.pvalue)
    assert found.tests[0].dof[0] == pytest.approx(t.df)
    low, high = t.confidence_interval(0.95)
    assert (found.pairs[0].low, found.pairs[0].high) == pytest.approx((low, high))
    u = stats.mannwhitneyu(b, a)
    assert (found.tests[1].statistic, found.tests[1].p) == pytest.approx((u.statistic, u.pvalue))
    assert found.pairs[0].delta == pytest.approx(2 * u.statistic / (len(a) * len(b)) - 1)
    assert found.groups[0].low < found.groups[0].mean < found.groups[0].high


def test_three_groups_as_scipy_tells():
    (found,) = compared(cohort(1, (0, 0.5, 1.5)), "value", "group", correction="bh")
    f = stats.f_oneway(*found.values)
    assert (found.tests[0].statistic, found.p) == pytest.approx((f.statistic, f.pvalue))
    h = stats.kruskal(*found.values)
    assert (found.tests[1].statistic, found.tests[1].p) == pytest.approx((h.statistic, h.pvalue))
    assert len(found.pairs) == 3
    each = [p.p_t for p in found.pairs]
    told = [p.p_t_adjusted for p in found.pairs]
    assert told == pytest.approx(stats.false_discovery_control(each))


def test_corrections():
    p = [0.01, 0.04, 0.03, 0.005, np.nan]
    assert adjusted(p, "holm")[:4] == pytest.approx([0.03, 0.06, 0.06, 0.02])  # Holm by hand
    assert adjusted(p, "bonferroni")[:4] == pytest.approx([0.04, 0.16, 0.12, 0.02])
    assert adjusted(p, "bh")[:4] == pytest.approx(stats.false_discovery_control(p[:4]))
    assert np.isnan(adjusted(p)[4])
    assert adjusted(p, "none")[:4] == pytest.approx(p[:4])
    with pytest.raises(ParameterError, match="holm, bh"):
        adjusted(p, "sidak")
    with pytest.raises(ParameterError, match="0 to 1"):
        adjusted([0.5, 1.5])


def test_effect_sizes_by_hand():
    a, b = np.array([1.0, 2, 3, 4]), np.array([3.0, 4, 5, 6])
    sd = np.sqrt(5 / 3)
    assert hedges(a, b) == pytest.approx(2 / sd * (1 - 3 / 23))
    # 16 pairs: 13 above, 1 below, 2 equal.
    above = sum(y > x for x in a for y in b)
    below = sum(y < x for x in a for y in b)
    assert cliff(a, b) == pytest.approx((above - below) / 16)
    assert np.isnan(hedges(np.ones(4), np.ones(4)))
    assert np.isnan(welch(np.ones(4), np.ones(4))[0])
    assert np.isnan(anova([np.ones(3), np.ones(3), np.ones(3)])[0])
    same = table_of([{"patient": str(i), "g": "ab"[i % 2], "v": 1.0} for i in range(8)])
    (found,) = compared(same, "v", "g")
    assert np.isnan([found.p, found.tests[1].p, found.adjusted]).all()


def test_bootstrap_intervals_hold_what_they_say():
    rng = np.random.default_rng(3)
    held = 0
    for i in range(200):
        _, low, high = bootstrap_mean(rng.normal(size=40), draws=400, seed=i)
        held += low <= 0 <= high
    assert 178 <= held <= 198  # 95 % of 200 by the binomial, less what percentiles lack at n 40
    mean, low, high = bootstrap_mean(np.arange(100.0))
    reach = 1.96 * np.arange(100.0).std() / 10
    assert (low, high) == pytest.approx((mean - reach, mean + reach), rel=0.05)


def test_rows_of_one_patient_count_once():
    once = compared(cohort(2), "value", "group")[0]
    table = cohort(2, rows=1)
    thrice = type(table)(table.columns, tuple(r for row in table.rows for r in (row, row, row)))
    again = compared(thrice, "value", "group")[0]
    assert again.p == pytest.approx(once.p)
    assert again.groups[0].patients == 15


def test_false_findings_of_many_measurements_are_held():
    """Of 40 cohorts without an effect in 6 measurements, few have any corrected finding."""
    rng = np.random.default_rng(5)
    hits = raw = 0
    for _ in range(40):
        values = rng.normal(size=(24, 6))
        table = table_of([
            {f"v{j}": float(v) for j, v in enumerate(r)} | {"patient": str(i), "group": "ab"[i % 2]}
            for i, r in enumerate(values)
        ])  # fmt: skip
        found = compared(table, [f"v{j}" for j in range(6)], "group", draws=10)
        hits += any(c.adjusted < 0.05 for c in found)
        raw += any(c.p < 0.05 for c in found)
    assert hits <= 7  # 5 % of 40 is 2; more than 7 has a chance of 0.1 %
    assert raw >= 4  # without a correction: 26 % of the cohorts


def test_wrong_groups_are_refused_by_name():
    table = cohort(0)
    with pytest.raises(ParameterError, match="groups are at most 12"):
        compared(table, "value", "patient")
    with pytest.raises(NotFound, match="no column 'sex'"):
        compared(table, "value", "sex")
    with pytest.raises(ParameterError, match="holds text"):
        compared(table, "group", "group")
    few = table.only([i < 16 for i in range(len(table))])
    with pytest.raises(ParameterError, match=r"fewer than two groups .* b \(1 patients\)"):
        compared(few, "value", "group")
    both = table_of([{"patient": "x", "group": g, "value": 1.0} for g in "ab"])
    with pytest.raises(ParameterError, match="patient x is in the groups 'a' and 'b'"):
        compared(both, "value", "group")
