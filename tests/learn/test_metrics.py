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


def drawn(rng, p):
    """Classes as often as probabilities ``(n, k)`` say."""
    return (rng.random((len(p), 1)) > np.cumsum(p, axis=1)[:, :-1]).sum(axis=1)


def softmax(z):
    return np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)


@pytest.mark.parametrize("frequent", [(0.8, 0.2), (0.6, 0.3, 0.1)])
def test_offsets_and_temperature_of_a_network_trained_on_balanced_classes(frequent):
    rng = np.random.default_rng(8)
    k, n = len(frequent), 8000
    truth = rng.choice(k, size=n, p=frequent)
    # What a network that saw each class as often as the others says, three times too surely.
    evidence = rng.normal(size=(n, k)) + 1.0 * np.eye(k)[truth]
    t, offsets = calibration.affine(3 * evidence, truth)
    usual = np.log(frequent)
    assert t == pytest.approx(3, rel=0.08)
    assert np.allclose(offsets, usual - usual.mean(), atol=0.12)
    p = softmax(3 * evidence / t + offsets)
    assert np.allclose(p.mean(axis=0), frequent, atol=0.02)
    assert calibration.rms_debiased(p, truth) < 0.025


def test_offsets_of_few_cases_stay_near_what_frequencies_say():
    truth = np.array([0] * 6 + [1] * 2)
    logits = np.zeros((8, 2))  # nothing is told: the frequencies are all there is
    t, offsets = calibration.affine(logits, truth)
    assert 0.1 <= t <= 10
    # Between the frequencies as counted and those with one more of each.
    assert np.log(2 / 6) < offsets[1] - offsets[0] < np.log(3 / 7)
    assert offsets.sum() == pytest.approx(0, abs=1e-9)


def test_what_chance_alone_adds_to_a_calibration_error():
    rng = np.random.default_rng(9)
    p = softmax(rng.normal(0, 1, (98, 2)))
    errors = [calibration.ece(p, drawn(rng, p)) for _ in range(400)]
    mean, low, high = calibration.ece_if_calibrated(p)
    assert mean == pytest.approx(np.mean(errors), rel=0.05)
    assert mean > 0.05  # of 98 cases a floor of 0.05 cannot be told from none
    assert 0.9 < np.mean([low <= e <= high for e in errors]) < 0.99
    many = calibration.ece_if_calibrated(np.repeat(p, 50, axis=0), draws=200)
    assert many[0] < mean / 5


def test_the_debiased_error_is_right_on_average():
    rng = np.random.default_rng(10)
    confidence = np.repeat([0.6, 0.7, 0.8, 0.9], 50)
    p = np.column_stack([confidence, 1 - confidence])
    for away in (0.0, 0.15):
        squares, plain = [], []
        for _ in range(600):
            truth = (rng.random(200) > confidence - away).astype(int)
            found = calibration.rms_debiased(p, truth, bins=4)
            squares.append(found**2)
            plain.append(calibration.ece(p, truth))
        # Where it is below 0 it says 0, so that it is a little above at 0.
        assert np.mean(squares) == pytest.approx(away**2, abs=0.002)
        assert np.mean(plain) > away + (0.02 if away == 0 else -0.01)


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


def test_an_interval_of_an_error_holds_the_error():
    confidence = np.repeat([0.61, 0.71, 0.81, 0.91], 20)  # right 12, 14, 16 and 18 times
    p = np.column_stack([confidence, 1 - confidence])
    truth = np.concatenate([np.arange(20) >= n for n in (12, 14, 16, 18)]).astype(int)
    whose = [str(i) for i in range(80)]

    def error(i):
        return calibration.ece(p[i], truth[i])

    plain = bootstrap.interval(error, whose, draws=200)
    value, low, high = bootstrap.interval(error, whose, draws=200, centred=True)
    assert value == plain[0] == pytest.approx(0.01)
    assert plain[1] > value  # drawing cases twice adds to an error that chance was kind to
    assert 0 <= low <= value < high
    assert high - low <= plain[2] - plain[1]  # moved, and cut at 0
