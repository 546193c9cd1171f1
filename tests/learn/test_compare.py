"""Differences between models, and figures of groups, against other implementations and by hand."""

import math

import numpy as np
import pytest

from somascope.core.errors import ParameterError
from somascope.learn.compare import compare
from somascope.learn.evaluate import Evaluation
from somascope.learn.metrics.compare import delong, paired
from somascope.learn.metrics.ranking import auc, mean_ranks
from somascope.learn.subgroups import subgroups, thirds


def scores(seed, *, n=60, apart=1.0):
    """Two correlated scores of the same cases, the first better by ``apart``."""
    rng = np.random.default_rng(seed)
    truth = np.arange(n) % 2 == 1
    both = rng.normal(size=n)
    first = both + 0.7 * rng.normal(size=n) + (1.0 + apart) * truth
    second = both + 0.7 * rng.normal(size=n) + 1.0 * truth
    return first, second, truth


def test_mean_ranks_are_scipys():
    stats = pytest.importorskip("scipy.stats")
    values = np.random.default_rng(0).integers(0, 9, 50)
    assert np.array_equal(mean_ranks(values), stats.rankdata(values))


def by_definition(a, b, truth):
    """DeLong et al., 1988, equations 1 to 6, pair by pair."""

    def placed(x):
        kernel = (x[truth][:, None] > x[~truth][None]) + 0.5 * (
            x[truth][:, None] == x[~truth][None]
        )
        return kernel.mean(axis=1), kernel.mean(axis=0)

    (ya, na), (yb, nb) = placed(a), placed(b)
    m, n = int(truth.sum()), int((~truth).sum())
    variance = np.var(ya - yb, ddof=1) / m + np.var(na - nb, ddof=1) / n
    return ya.mean() - yb.mean(), math.sqrt(variance)


def test_delong_by_its_definition():
    first, second, truth = scores(1)
    second = np.round(second, 1)  # ties
    found = delong(first, second, truth)
    apart, wide = by_definition(first, second, truth)
    assert found.value == pytest.approx(apart, abs=1e-12)
    assert (found.high - found.low) / 2 == pytest.approx(1.959963984540054 * wide, rel=1e-9)
    assert found.p == pytest.approx(math.erfc(abs(apart) / wide / math.sqrt(2)), rel=1e-9)
    assert found.first == pytest.approx(auc(first, truth), abs=1e-12)


def test_delong_of_a_model_against_itself_and_of_too_few():
    first, _, truth = scores(2)
    same = delong(first, first, truth)
    assert (same.value, same.p) == (0.0, 1.0)
    with pytest.raises(ParameterError, match="two of each"):
        delong(first[:3], first[:3], truth[:3])


def test_delong_without_variance_has_no_p():
    truth = np.arange(10) % 2 == 1
    right, wrong = truth.astype(float), -truth.astype(float)
    apart = delong(right, wrong, truth)
    assert apart.value == 1.0
    assert np.isnan([apart.p, apart.low, apart.high]).all()
    same = delong(right, 2 * right, truth)
    assert (same.value, same.p, same.low, same.high) == (0.0, 1.0, 0.0, 0.0)


def test_no_difference_is_rarely_called_one():
    """Under no difference p is below 0.05 about one time in twenty; with one, mostly."""
    none = [delong(*scores(s, apart=0.0)).p for s in range(300)]
    some = [delong(*scores(s, apart=1.5)).p for s in range(50)]
    assert 0.01 < np.mean(np.array(none) < 0.05) < 0.1
    assert np.mean(np.array(some) < 0.05) > 0.7


def test_bootstrap_agrees_with_delong():
    first, second, truth = scores(3, n=200)
    exact = delong(first, second, truth)
    drawn = paired(
        "auc", (lambda i: auc(first[i], truth[i]), lambda i: auc(second[i], truth[i])),
        [str(i) for i in range(len(truth))], draws=400,
    )  # fmt: skip
    assert drawn.value == pytest.approx(exact.value, abs=1e-12)
    assert drawn.high - drawn.low == pytest.approx(exact.high - exact.low, rel=0.2)


def test_patients_are_drawn_whole():
    values = np.repeat(np.random.default_rng(4).normal(0.2, 1, 20), 10)
    zero = np.zeros(200)
    figures = (lambda i: float(values[i].mean()), lambda i: float(zero[i].mean()))
    alone = paired("x", figures, [str(i) for i in range(200)])
    whole = paired("x", figures, [str(i // 10) for i in range(200)])
    assert (whole.high - whole.low) / (alone.high - alone.low) == pytest.approx(10**0.5, rel=0.25)
    with pytest.raises(ParameterError, match="one patient"):
        paired("x", figures, ["a"] * 200)


def judged(seed, *, skill, task="classify", n=40):
    rng = np.random.default_rng(seed)
    result = Evaluation(task, f"model {skill}", "data", ("a", "b"), "test")
    for i in range(n):
        truth = i % 2
        p = 1 / (1 + np.exp(-(rng.normal() + skill * (2 * truth - 1))))
        groups = {"sex": "F" if i % 4 < 2 else "M", "rare": "x" if i else "y"}
        row = {"id": str(i), "patient": str(i), "groups": groups, "truth": truth,
               "said": int(p > 0.5), "p": [1 - p, p],
               "quality": float(p if truth else 1 - p)}  # fmt: skip
        if task == "segment":
            row |= {"dice a": float(p), "truth_ml": float(i)}
        result.rows.append(row)
    return result


def test_evaluations_are_compared_on_the_cases_of_both():
    good, bad = judged(0, skill=2.0), judged(1, skill=0.0)
    bad.rows = bad.rows[:-4]
    areas, hits = compare(good, bad)
    assert (areas.method, areas.cases) == ("DeLong", 36)
    assert areas.value > 0.2
    assert areas.p < 0.01
    assert hits.value > 0.2
    for row in [*good.rows, *bad.rows]:
        row["patient"] = str(int(row["id"]) // 4)
    assert compare(good, bad)[0].method == "paired bootstrap"
    names = [
        d.name
        for d in compare(judged(0, skill=1, task="segment"), judged(1, skill=1, task="segment"))
    ]
    assert names == ["quality", "dice a"]
    bad.rows = []
    with pytest.raises(ParameterError, match="in common"):
        compare(good, bad)
    with pytest.raises(ParameterError, match="segment"):
        compare(good, judged(0, skill=1, task="segment"))


def test_a_case_that_one_model_has_no_figure_of_counts_for_neither():
    first, second = (judged(s, skill=1.0, task="segment") for s in (0, 1))
    for row in first.rows:
        row["dice a"] = 0.5 + int(row["id"]) / 100
    for row in second.rows:
        row["dice a"] = 0.5 + int(row["id"]) / 100 - 0.1
    for row in first.rows[:3]:
        row["dice a"] = float("nan")
    second.rows[-1]["dice a"] = float("inf")
    found = compare(first, second, draws=50)[1]
    assert (found.name, found.cases) == ("dice a", 36)
    assert found.value == pytest.approx(0.1)
    assert (found.low, found.high) == (pytest.approx(0.1), pytest.approx(0.1))
    for row in first.rows[1:]:
        row["dice a"] = float("nan")
    none = compare(first, second, draws=50)[1]
    assert none.cases == 0
    assert np.isnan([none.first, none.p]).all()


def test_boxes_of_a_group_are_called_what_they_are():
    rows = judged(0, skill=1.0, n=20).rows
    found = subgroups("detect", rows, draws=20)
    assert {m.name for m in found} == {"mean AP of an image"}


def test_groups_of_five_cases_have_figures():
    result = judged(0, skill=2.0)
    found = subgroups("classify", result.rows, draws=50)
    assert {m.on for m in found} == {"sex: F", "sex: M"}
    assert {m.name for m in found} == {"auc", "accuracy"}
    women = [r for r in result.rows if r["groups"]["sex"] == "F"]
    accuracy = next(m for m in found if (m.on, m.name) == ("sex: F", "accuracy"))
    assert accuracy.value == pytest.approx(np.mean([r["said"] == r["truth"] for r in women]))
    assert accuracy.low <= accuracy.value <= accuracy.high


def test_thirds_part_the_cases_by_a_number():
    rows = judged(0, skill=1.0, task="segment", n=30).rows
    thirds(rows, "truth_ml")
    counts = {
        k: sum(r["groups"]["truth_ml"] == k for r in rows) for k in ("small", "middle", "large")
    }
    assert counts == {"small": 10, "middle": 10, "large": 10}
