"""Figures of merit against scikit-learn, closed forms and hand-made cases."""

import numpy as np
import pytest
from sklearn import metrics as sk

from somascope.learn.metrics import bootstrap, boxes, calibration, ranking, regions


@pytest.fixture
def scores():
    rng = np.random.default_rng(3)
    truth = rng.integers(0, 2, 300)
    return np.round(truth + rng.normal(0, 1.2, 300), 1), truth  # ties on purpose


def test_auc_and_roc_agree_with_scikit_learn(scores):
    s, t = scores
    assert ranking.auc(s, t == 1) == pytest.approx(sk.roc_auc_score(t, s), abs=1e-12)
    fpr, tpr, _ = ranking.roc(s, t == 1)
    a, b, _ = sk.roc_curve(t, s, drop_intermediate=False)
    assert np.allclose(fpr, a)
    assert np.allclose(tpr, b)
    assert np.isnan(ranking.auc(s, np.ones(300, bool)))


def test_several_classes_agree_with_scikit_learn():
    rng = np.random.default_rng(4)
    logits, truth = rng.normal(size=(200, 4)), rng.integers(0, 4, 200)
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    want = sk.roc_auc_score(truth, p, multi_class="ovr", average="macro")
    assert ranking.auc_of(logits, truth) == pytest.approx(want, abs=1e-12)
    table = ranking.decisions(p.argmax(axis=1), truth, 4)
    assert np.array_equal(table, sk.confusion_matrix(truth, p.argmax(axis=1)))
    got = ranking.rates(table)
    assert got["balanced_accuracy"] == pytest.approx(
        sk.balanced_accuracy_score(truth, p.argmax(axis=1))
    )
    assert got["f1"] == pytest.approx(sk.f1_score(truth, p.argmax(axis=1), average="macro"))


def test_temperature_finds_what_was_done_to_the_logits():
    rng = np.random.default_rng(5)
    logits = rng.normal(0, 2, (4000, 3))
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    truth = np.array([rng.choice(3, p=q) for q in p])
    assert calibration.temperature(2.5 * logits, truth) == pytest.approx(2.5, rel=0.06)
    assert calibration.ece(p, truth) < 0.03
    sure = np.exp(2.5 * logits) / np.exp(2.5 * logits).sum(axis=1, keepdims=True)
    assert calibration.ece(sure, truth) > 0.1
    two = np.column_stack([p[:, 0], 1 - p[:, 0]])
    binary = (truth != 0).astype(int)
    assert calibration.brier(two, binary) == pytest.approx(
        2 * sk.brier_score_loss(binary, two[:, 1])
    )


def test_conformal_sets_hold_the_truth_as_often_as_promised():
    rng = np.random.default_rng(6)
    logits = rng.normal(0, 1.5, (6000, 4))
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    truth = np.array([rng.choice(4, p=q) for q in p])
    wrong = p**2 / (p**2).sum(axis=1, keepdims=True)  # the promise needs no good probabilities
    least = calibration.conformal(wrong[:2000], truth[:2000], miscoverage=0.1)
    sets = calibration.prediction_sets(wrong[2000:], least)
    covered = sets[np.arange(4000), truth[2000:]].mean()
    assert abs(covered - 0.9) < 0.02
    assert sets.sum(axis=1).mean() < 4


def test_distances_of_two_cubes():
    a, b = np.zeros((12, 12, 12), bool), np.zeros((12, 12, 12), bool)
    a[2:8, 2:8, 2:8] = True
    b[2:8, 2:8, 4:10] = True
    assert regions.dice(a, b) == pytest.approx(2 / 3)
    assert regions.hd95(a, b, (1, 1, 1.5)) == pytest.approx(3.0)
    assert regions.hd95(a, a, (1, 1, 1)) == 0
    assert regions.nsd(a, a, (1, 1, 1)) == 1
    assert regions.assd(a, b, (1, 1, 1)) > 0
    assert regions.volume_error(a[..., :5], b[..., :5]) == pytest.approx(2.0)
    assert np.isnan(regions.hd95(a, np.zeros_like(a), (1, 1, 1)))


def test_average_precision_by_hand():
    truth = [np.array([[0, 0, 10, 10, 0], [20, 20, 30, 30, 0]], float)]
    found = [np.array([
        [0, 0, 10, 10, 0, 0.9], [50, 50, 60, 60, 0, 0.8], [20, 20, 30, 29, 0, 0.7],
        [0, 0, 10, 10, 0, 0.6],
    ])]  # fmt: skip
    # Right, wrong, right, twice the same: precision 1 to recall 1/2, then 2/3.
    assert boxes.average_precision(found, truth, kind=0) == pytest.approx(0.5 + 0.5 * 2 / 3)
    assert np.isnan(boxes.average_precision(found, truth, kind=1))
    assert boxes.froc(found, truth, kind=0, at=(0, 1)).tolist() == [0.5, 1.0]


def test_bootstrap_draws_whole_patients():
    values = np.repeat(np.arange(10.0), 5)
    whose = np.repeat([f"p{i}" for i in range(10)], 5).tolist()
    value, low, high = bootstrap.interval(lambda i: values[i].mean(), whose, draws=2000)
    spread = np.arange(10).std() / np.sqrt(10) * 1.96
    assert value == 4.5
    assert high - low == pytest.approx(2 * spread, rel=0.1)
    alone = bootstrap.interval(lambda i: values[i].mean(), [str(i) for i in range(50)], draws=2000)
    assert alone[2] - alone[1] < 0.6 * (high - low)
