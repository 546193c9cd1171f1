"""Choice and graph: what scikit-learn says and what the graph says are one; nothing leaks."""

import numpy as np
import pytest
from sklearn.feature_selection import f_classif

from somascope.core.errors import ParameterError
from somascope.learn.classical.fit import KINDS, fit, parts, ranked, search, settings_of
from somascope.learn.classical.graph import to_onnx
from somascope.learn.metrics.ranking import auc_of
from somascope.models import onnxfile
from somascope.models.engine import start


def world(n=80, f=30, classes=2, *, seed=0, effect=1.5):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % classes
    x = rng.normal(size=(n, f)) * rng.uniform(0.1, 50, f) + rng.uniform(-100, 100, f)
    scale = x.std(axis=0)
    for k in range(3):
        x[:, k] += effect * scale[k] * (y == k % classes)
    return x.astype(np.float32).astype(float), y


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_the_graph_says_what_scikit_learn_says(kind, classes):
    x, y = world(classes=classes)
    settings = next(settings_of(kind))
    made = fit(x, y, kind, settings)
    graph = to_onnx(made, x.shape[1])
    assert set(onnxfile.inspect(graph).operators) <= onnxfile.OPERATORS
    engine = start(graph, threads=1)
    other, _ = world(40, classes=classes, seed=1)
    ours = np.concatenate([engine({"image": row[None].astype(np.float32)})[0] for row in other])
    truth = made.logits(other)
    assert ours.shape == truth.shape == (40, classes)
    assert np.abs(ours - truth).max() < 2e-3 * max(1.0, np.abs(truth).max())
    assert (ours.argmax(1) == truth.argmax(1)).mean() > 0.95


def test_features_are_ranked_by_their_f_ratio():
    x, y = world(200, 12)
    order = ranked(x, y)
    f = f_classif(x, y)[0]
    assert list(order) == list(np.argsort(-f))
    twin = np.column_stack([x, 3 * x[:, order[0]] + 1, np.full(len(x), 7.0)])
    kept = ranked(twin, y)
    assert len(kept) == 12  # neither the twin nor the constant
    with pytest.raises(ParameterError, match="no feature varies"):
        ranked(np.ones((10, 3)), np.arange(10) % 2)


def test_no_patient_is_on_both_sides():
    y = np.arange(60) % 2
    patients = [f"p{i // 3}" for i in range(60)]
    held = parts(y, patients, 4)
    assert sorted(np.concatenate(held)) == list(range(60))
    for part in held:
        rest = set(range(60)) - set(part)
        assert not {patients[i] for i in part} & {patients[i] for i in rest}
    with pytest.raises(ParameterError, match="class 1 has 2 patients for 4 folds"):
        parts(np.array([0] * 10 + [1, 1]), [str(i) for i in range(12)], 4)


def test_noise_is_not_learned():
    """Features chosen before the folds would give noise an AUC of 0.8; inside them it has none."""
    rng = np.random.default_rng(0)
    y = np.arange(60) % 2
    areas = []
    for seed in range(2):
        x = rng.normal(size=(60, 300))
        found = search(x, y, [str(i) for i in range(60)], ["logistic"], seed=seed)
        areas.append(auc_of(found.logits, y))
    assert np.mean(areas) < 0.62  # the best of two settings, each about 0.5


def test_a_real_difference_is_found():
    x, y = world(90, 60, 3, effect=2.5)
    found = search(x, y, [str(i) for i in range(90)], ["logistic", "svm"])
    assert auc_of(found.logits, y) > 0.85
    assert len(found.tried) == 6
