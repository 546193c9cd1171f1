"""Means of several looks, and how far they are apart: by hand, and where they must be nothing."""

import weakref
from dataclasses import replace

import numpy as np
import pytest

from somascope.core import Grid
from somascope.core.errors import ParameterError, Refused
from somascope.models import Network, Preparation, package
from somascope.models.classify import softmax
from somascope.models.together import Together, opinion
from somascope.testing import check_model, check_operation
from tests.models import graphs
from tests.models.test_run import volume


def network(**more):
    return Network(graphs.packed(graphs.segmenter(**more)), kind="onnxruntime", threads=1)


def test_opinion_by_hand():
    one, two = np.array([0.9, 0.1]), np.array([0.1, 0.9])
    found = opinion([one, two])
    assert np.allclose(found.mean, 0.5)
    assert found.doubt == pytest.approx(1.0)
    entropy = -(0.9 * np.log2(0.9) + 0.1 * np.log2(0.1))
    assert found.quarrel == pytest.approx(1 - entropy)
    same = opinion([one, one])
    assert (same.doubt, same.quarrel) == (pytest.approx(entropy), pytest.approx(0.0))


def test_the_mean_of_two_models_is_what_is_said():
    sharp, blunt = network(sharp=20.0), network(sharp=2.0)
    image = volume()
    found = Together([sharp, blunt]).look(image)
    logits = [np.stack([0 * image.data, s * (image.data - 0.5)]) for s in (20.0, 2.0)]
    both = [softmax(x, axis=0) for x in logits]
    assert np.allclose(found.mean, (both[0] + both[1]) / 2, atol=2e-3)  # bands are float16
    assert found.quarrel.max() > 0.02
    (mask,) = Together([sharp, blunt])(image)
    assert np.array_equal(mask.data, found.mean[1] >= 0.5)
    assert mask.provenance.steps[-1].params["looks"] == 2
    check_model(Together([sharp, blunt]), image)


def test_a_network_without_sides_says_the_same_of_the_mirror_image():
    image = volume()
    plain = Together([network()]).look(image)
    mirrored = Together([network()], mirror="zyx").look(image)
    assert np.allclose(plain.mean, mirrored.mean, atol=2e-3)
    assert mirrored.quarrel.max() < 1e-3


def test_what_is_seen_at_one_side_only_is_mirrored_back():
    """A graph that adds half to the patient's left: mirrored in x it quarrels, in z it does not."""
    ramp = graphs.weight("side", np.linspace(-1, 1, 8).reshape(1, 1, 1, 1, 8))
    made = graphs.segmenter()
    made.graph.node[0].input[0] = "moved"
    made.graph.node.insert(0, graphs.onnx.helper.make_node("Add", ["image", "side"], ["moved"]))
    made.graph.initializer.append(ramp)
    how = Preparation(orient=True, scaling="none")
    sided = Network(graphs.packed(made, preparation=how, patch=(4, 8, 8)), threads=1)
    image = volume((4, 8, 8))
    image = replace(image, data=np.full_like(image.data, 0.5) + 0.001 * image.data)
    doubts = {a: Together([sided], mirror=a).look(image).quarrel.max() for a in ("z", "y", "x")}
    assert doubts["x"] > 0.5
    assert max(doubts["z"], doubts["y"]) < 0.01
    turned = image.data.transpose(2, 0, 1)
    grid = Grid(turned.shape, image.grid.affine[:, [2, 0, 1, 3]])
    other = replace(image, data=turned, grid=grid)
    again = {a: Together([sided], mirror=a).look(other).quarrel.max() for a in ("z", "y", "x")}
    assert again == pytest.approx(doubts, abs=1e-4)  # sides are the patient's, not the file's


def test_classification_is_averaged_too():
    two = (graphs.CARD.classes[0], graphs.CARD.classes[0].named("other"))
    card = replace(graphs.CARD, name="mean", task="classify", dimensions=2, patch=(),
                   modalities=(), classes=two, preparation=Preparation(size=(1, 8, 8),
                                                                       scaling="none"))  # fmt: skip
    one = Network(graphs.packed(graphs.classifier(), card))
    cool = Network(graphs.packed(graphs.classifier(), replace(card, temperature=4.0)))
    image = volume((1, 8, 8), spacing=(1.0, 1.0, 1.0))
    (label,) = Together([one, cool], mirror="x")(image)
    single = [m(image)[0].probabilities["other"] for m in (one, cool)]
    assert label.probabilities["other"] == pytest.approx(np.mean(single), abs=1e-6)


def test_no_look_is_kept(monkeypatch):
    from somascope.models import together

    made, alive, real = [], [], together._said

    def noted(*args):
        alive.append(sum(r() is not None for r in made))
        look = real(*args).copy()
        made.append(weakref.ref(look))
        return look

    monkeypatch.setattr(together, "_said", noted)
    found = Together([network(sharp=2.0)], mirror="zyx").look(volume())
    assert len(alive) == 8
    assert max(alive) <= 1  # the one that was just given away
    assert found.mean.sum(axis=0) == pytest.approx(1.0, abs=2e-3)
    with pytest.raises(ParameterError, match="no look"):
        opinion([])


def test_three_hundred_classes_have_three_hundred_numbers():
    count = 300
    w = graphs.weight("w", np.zeros((count + 1, 1, 1, 1, 1)))
    b = graphs.weight("b", [*[0.0] * count, 50.0])
    node = graphs.onnx.helper.make_node("Conv", ["image", "w", "b"], ["logits"])
    made = graphs.model([node], outputs={"logits": [1, count + 1, 4, 8, 8]}, weights=[w, b])
    kinds = tuple(graphs.CARD.classes[0].named(f"c{i}") for i in range(count))
    (mask,) = Together([Network(graphs.packed(made, classes=kinds), threads=1)])(volume((4, 8, 8)))
    assert (mask.data == count).all()
    assert mask.data.dtype == np.uint16


@pytest.mark.parametrize("first", ["z", "y", "x"])
def test_axes_between_two_directions_are_mirrored_once_each(first):
    """Grids turned by 45 degrees, where two axes run as much along the same direction."""
    from somascope.models import together
    from somascope.models.prepare import towards

    half = np.sqrt(0.5)
    still = "zyx".index(first)
    axes = [a for a in range(3) if a != still]
    affine = np.eye(4)
    affine[:3, :3] = 0
    affine[still, still] = 1
    for i, j, v in ((0, 0, half), (0, 1, half), (1, 0, half), (1, 1, -half)):
        affine[axes[i], axes[j]] = v
    image = volume((4, 4, 4))
    image = replace(image, grid=Grid((4, 4, 4), affine))
    assert sorted(together._own(image, (0, 1, 2))) == [0, 1, 2]
    assert sorted(towards(image.grid)) == [0, 1, 2]
    one = np.random.default_rng(0).uniform(size=(4, 4, 4)).astype(np.float32)
    image = replace(image, data=one)
    assert Together([network()], mirror="zyx").look(image).quarrel.max() < 1e-3


def test_what_cannot_be_averaged_is_refused():
    with pytest.raises(ParameterError, match="no model"):
        Together([])
    with pytest.raises(ParameterError, match="mirror is 't'"):
        Together([network()], mirror="t")
    three = (*graphs.CARD.classes, graphs.CARD.classes[0].named("c"))
    other = Network(graphs.packed(graphs.segmenter(), classes=three))
    with pytest.raises(ParameterError, match="other classes"):
        Together([network(), other])
    boxes = Network(graphs.packed(graphs.detector(), task="detect"))
    with pytest.raises(ParameterError, match="averaged"):
        Together([boxes])
    with pytest.raises(Refused, match="1 image"):
        Together([network()])(volume(), volume())


def test_uncertainty_is_an_operation(tmp_path):
    for name, sharp in (("a", 20.0), ("b", 2.0)):
        package.write(graphs.packed(graphs.segmenter(sharp=sharp)), tmp_path / name)
    both = f"{tmp_path / 'a'}, {tmp_path / 'b'}"
    for kind in ("doubt", "quarrel"):
        check_operation("models.uncertainty", inputs=(volume(),),
                        params={"models": both, "mirror": "x", "kind": kind})  # fmt: skip


def test_uncertainty_becomes_a_parametric_map(tmp_path):
    from somascope.io import read, write
    from somascope.jobs.run import run_files

    package.write(graphs.packed(graphs.segmenter(sharp=2.0)), tmp_path / "m")
    image = volume()
    write(image, tmp_path / "mr")
    run_files("models.uncertainty", [tmp_path / "mr"], tmp_path / "map",
              {"models": str(tmp_path / "m"), "anyway": True})  # fmt: skip
    back = read(tmp_path / "map")
    doubt = Together([network(sharp=2.0)]).look(image, anyway=True).doubt
    assert np.allclose(np.sort(back.data.ravel()), np.sort(doubt.ravel()), atol=1e-3)
    assert np.allclose(sorted(back.grid.spacing), sorted(image.grid.spacing))
    part10 = next(p for p in (tmp_path / "map").rglob("*") if p.is_file()).read_bytes()
    assert b"1.2.840.10008.5.1.4.1.1.30" in part10  # Parametric Map Storage


def test_detection_is_an_operation(tmp_path):
    how = Preparation(scaling="range", low=0.0, high=255.0)
    card = replace(graphs.CARD, name="detect.bright", task="detect", dimensions=2, stride=4,
                   patch=(), preparation=how, intensity=(0.0, 255.0),
                   modalities=("DX",))  # fmt: skip
    package.write(graphs.packed(graphs.detector(), card), tmp_path / "d")
    values = np.zeros((1, 32, 32), np.uint8)
    values[0, 8:12, 16:20] = 255
    image = volume((1, 32, 32), spacing=(1.0, 1.0, 1.0), modality="DX")
    image = replace(image, data=values)
    check_operation("models.detect", inputs=(image,), params={"model": str(tmp_path / "d")})
