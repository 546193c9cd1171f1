"""Which case next: the doubtful ones, each kind once; and what cannot be read is said."""

import json
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from somascope.cli.app import app
from somascope.core.errors import ParameterError
from somascope.io import write
from somascope.learn.active import _picked, _places, doubt_of, next_cases
from somascope.models import Network, package
from tests.models import graphs
from tests.models.test_run import volume


def segmenter(**more):
    return Network(graphs.packed(graphs.segmenter(**more)), kind="onnxruntime", threads=1)


def of(share, *, seed=0):
    """A volume of which that share lies right at the model's border of one half."""
    rng = np.random.default_rng(seed)
    image = volume()
    flat = rng.permutation(image.data.size) < share * image.data.size
    sure = rng.choice([0.0, 1.0], image.data.shape)
    data = np.where(flat.reshape(image.data.shape), 0.5, sure).astype(np.float32)
    return replace(image, data=data)


def test_the_more_doubtful_case_comes_first():
    model = segmenter(sharp=20.0)
    images = [(f"{s:.3f}", lambda s=s: of(s)) for s in (0.0, 0.02, 0.005, 0.01)]
    found = next_cases([model], images, count=3, spread=0.0)
    assert [c.name for c in found.cases] == ["0.020", "0.010", "0.005"]
    assert found.cases[0].doubt == pytest.approx(1.0, abs=0.05)
    assert found.problems == ()
    assert "doubtful" in found.cases[0].reason


def test_of_two_alike_one_is_enough():
    doubts = np.array([0.9, 0.89, 0.5])
    places = np.array([[0.0, 0.0], [0.0, 0.01], [2.0, 0.0]])
    assert [i for i, _ in _picked(doubts, places, count=3, spread=1.0)] == [0, 2, 1]
    assert [i for i, _ in _picked(doubts, places, count=2, spread=0.0)] == [0, 1]
    assert _picked(doubts, places, count=3, spread=1.0)[1][1] == pytest.approx(1 - np.exp(-4))


def test_the_median_distance_of_two_images_is_one():
    rng = np.random.default_rng(0)
    facts = [{"a": x, "b": 100 * y, "same": 3.0} for x, y in rng.normal(size=(40, 2))]
    places = _places(facts)
    apart = np.linalg.norm(places[:, None] - places[None], axis=2)
    assert np.median(apart[np.triu_indices(40, 1)]) == pytest.approx(1.0)
    assert _places([]).shape == (0, 1)
    assert np.isfinite(_places(facts[:1])).all()


def test_two_models_that_disagree_doubt_together():
    one = segmenter(sharp=20.0)
    other = segmenter(sharp=-20.0)  # what is bright to one is dark to the other
    image = of(0.0)
    assert doubt_of([one], image)[0] < 0.05
    assert doubt_of([one, one], image)[0] < 0.05
    assert doubt_of([one, other], image)[0] > 0.95


def test_what_cannot_be_read_is_named_and_the_rest_goes_on():
    model = segmenter()
    wrong = replace(volume(), modality="CT")
    found = next_cases([model], [("ct", lambda: wrong), ("fine", lambda: of(0.01))])
    assert [c.name for c in found.cases] == ["fine"]
    assert found.problems[0][0] == "ct"
    with pytest.raises(ParameterError, match="no model"):
        next_cases([], [])
    with pytest.raises(ParameterError, match="0 to 1"):
        next_cases([model], [], spread=2.0)


def test_from_the_command_line(tmp_path):
    package.write(graphs.packed(graphs.segmenter(sharp=20.0)), tmp_path / "model")
    for share in (0.0, 0.02):
        write(of(share), tmp_path / "new" / f"case_{share}.nii.gz")
    run = CliRunner().invoke(
        app, ["next", str(tmp_path / "model"), str(tmp_path / "new"), "-n", "1", "--json"]
    )
    assert run.exit_code == 0, run.output
    said = json.loads(run.output)
    assert [c["name"] for c in said["cases"]] == ["case_0.02"]
