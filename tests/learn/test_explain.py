"""Explanations: parts that add up, the bright disc found, faithful beyond a random map."""

import json
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from somascope.archive import Archive
from somascope.cli.app import app
from somascope.core.errors import CorruptFile, NotFound, ParameterError
from somascope.io import write
from somascope.io.dicom import pm
from somascope.io.dicom.header import scan
from somascope.io.dicom.write import instances
from somascope.jobs.resolve import from_archive
from somascope.jobs.run import encode, execute
from somascope.learn import explain as why
from somascope.learn.datasets import open_dataset
from somascope.learn.explain.counterfactual import harmonic
from somascope.learn.explain.maps import Cam, _weighed
from somascope.learn.explained import written
from somascope.learn.layers import layers, page
from somascope.learn.make import make, planned
from somascope.learn.networks import LeNet, build
from somascope.learn.operations import explain
from somascope.learn.plan import Machine
from somascope.learn.prototypes import Prototypes, nearest, prototypes
from somascope.learn.tasks.sample import Sample
from somascope.models import package
from somascope.models.classify import decided, softmax
from somascope.testing import check_operation
from tests.learn import worlds


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    root = tmp_path_factory.mktemp("explain")
    worlds.npz(root / "discs.npz", count=48)
    data = open_dataset(root / "discs.npz", "classify")
    plan = planned(data, budget_minutes=1, machine=Machine(1, "", 8.0))
    # One range for all: else the noise, smaller beside a disc, would tell as much as the disc.
    how = replace(plan.preparation, scaling="range", low=0.0, high=255.0)
    network = {**plan.network, "widths": [8, 16], "blocks": 1, "norm": "instance"}
    plan = replace(plan, network=network, batch=16, rate=5e-3, average=0.9, preparation=how)
    _, done = make(data, root / "model", chosen=plan, steps=60)
    assert done.history[-1]["accuracy"] > 0.95
    return root / "model", data


def test_integrated_gradients_add_up_to_the_change(trained):
    path, data = trained
    card, _, network = why.opened(path)
    x, _ = why.input_of(card, [data.of("test")[1].image()])
    score = why.score_of(card, network, 1)
    parts = why.gradients(score, x, steps=256)
    with torch.inference_mode():
        change = float(score(x)[0]) - float(score(why.nothing(x))[0])
    assert parts.sum() == pytest.approx(change, rel=0.05, abs=0.05)


MAPS = ("gradcam", "gradcampp", "hirescam", "layercam", "gradients", "occlusion")


@pytest.mark.parametrize("method", MAPS)
def test_the_disc_is_what_speaks_for_a_disc(trained, method):
    path, data = trained
    inside: list[float] = []
    for case in data.of("test")[1:8:2]:
        image = case.image()
        found = why.explain(path, image, method=method, target="1")
        assert found.map.grid == image.grid
        disc = image.data[0] > 130
        values = np.maximum(found.map.data[0], 0)
        inside.append(values[disc].mean() / max(values.mean(), 1e-9))
        assert np.isfinite((found.deletion, found.insertion)).all()
    assert np.median(inside) > 1.5


def test_faithfulness_of_a_sum_whose_parts_are_known():
    rng = np.random.default_rng(8)
    x = torch.from_numpy(rng.normal(size=(1, 1, 12, 12)).astype(np.float32))
    w = torch.from_numpy(rng.random((12, 12)).astype(np.float32))

    def score(values):
        return (values[:, 0] * w).sum(dim=(1, 2))

    x[0, 0, :4] += 2
    parts = ((x - why.nothing(x))[0, 0] * w).numpy()
    true = why.faithfulness(score, x, parts)
    chance = why.faithfulness(score, x, rng.random((12, 12)))
    wrong = why.faithfulness(score, x, -parts)
    assert true[0] < chance[0] < wrong[0]
    assert true[1] > chance[1] > wrong[1]
    assert np.isnan(why.faithfulness(lambda v: -score(v), x, parts)).all()  # nothing scores higher


@pytest.mark.parametrize(
    ("task", "described", "shape"),
    [
        ("segment", {"kind": "unet", "inputs": 1, "outputs": 2, "dimensions": 3, "widths": [4, 8]},
         (1, 1, 8, 8, 8)),
        ("detect", {"kind": "unet", "inputs": 1, "outputs": 5, "dimensions": 2, "widths": [4, 8],
                    "finest": 1}, (1, 1, 16, 16)),
        ("register", {"kind": "voxelmorph", "dimensions": 3, "widths": [4, 8]}, (1, 2, 8, 8, 8)),
    ],
)  # fmt: skip
def test_every_task_and_dimension_is_explained(trained, task, described, shape):
    card = replace(package.read(trained[0]).card, task=task)
    torch.manual_seed(1)
    network = build(described).eval()
    x = torch.randn(shape)
    score = why.score_of(card, network, 0)
    assert why.gradcam(network, score, x).shape == shape[2:]
    assert why.gradients(score, x, steps=2).shape == shape[1:]
    assert why.occlusion(score, x, parts=2).shape == shape[2:]


def test_cams_by_hand():
    """Two maps and their slopes, small enough to do in the head."""
    maps = torch.tensor([[[[1.0, 0.0], [0.0, 2.0]], [[0.0, 3.0], [1.0, 0.0]]]])
    slope = torch.tensor([[[[1.0, 0.0], [0.0, 1.0]], [[-1.0, 1.0], [0.0, 0.0]]]])
    weighed = {k: _weighed(maps, slope, k)[0, 0].tolist() for k in get_args(Cam)}
    assert weighed["gradcam"] == [[0.5, 0.0], [0.0, 1.0]]  # mean slopes 1/2 and 0
    assert weighed["hirescam"] == [[1.0, 3.0], [0.0, 2.0]]
    assert weighed["layercam"] == [[1.0, 3.0], [0.0, 2.0]]
    # Shares 1 / (2 + 3) and 1 / (2 + 4) of the places with a positive slope.
    assert weighed["gradcampp"] == [
        [pytest.approx(0.4), pytest.approx(0.5)], [pytest.approx(1 / 6), pytest.approx(0.8)],
    ]  # fmt: skip
    _, size, right = np.linalg.svd(maps[0].reshape(2, 4).numpy())
    line = size[0] * right[0] * np.sign(right[0].sum())
    assert np.allclose(np.reshape(weighed["eigencam"], -1), np.maximum(line, 0), atol=1e-5)


def test_a_reader_of_slices_has_a_map_for_each():
    torch.manual_seed(2)
    net = build({"kind": "reader", "inputs": 1, "outputs": 2, "widths": [4, 8], "hidden": 8}).eval()
    x = torch.randn(1, 1, 5, 16, 12)
    found = why.gradcam(net, lambda v: net(v)[:, 0], x)
    assert found.shape == (5, 16, 12)
    assert found.max() > 0


def test_chance_and_senselessness_stand_beside_a_map(trained):
    path, data = trained
    better: list[bool] = []
    like: list[float] = []
    for case in data.of("test")[1:8:2]:
        found = why.explain(path, case.image(), method="occlusion", target="1", sanity=True)
        better.append(found.deletion < found.random[0] and found.insertion > found.random[1])
        like.append(found.sanity)
        assert "by chance" in found.words
    assert np.mean(better) > 0.8
    assert np.median(like) < 0.7  # a map of the image itself would stay


def test_a_network_destroyed_keeps_its_values_and_loses_its_sense(trained):
    _, _, network = why.opened(trained[0])
    other = why.destroyed(network)
    for (name, a), b in zip(network.named_parameters(), other.parameters(), strict=True):
        assert torch.equal(a.flatten().sort().values, b.flatten().sort().values)
        assert a.ndim < 2 or a.numel() < 20 or not torch.equal(a, b), name
    rng = np.random.default_rng(0)
    one = rng.normal(size=(40, 40))
    assert why.likeness(one, 3 * one) == pytest.approx(1)
    assert abs(why.likeness(one, rng.normal(size=(40, 40)))) < 0.1
    assert why.likeness(one, np.ones((40, 40))) == 0


def test_harmonic_filling_is_exact_for_slopes_and_flat_inside_a_ring():
    z, y, x = np.mgrid[:6, :7, :8].astype(float)
    slope = (2 * x - 3 * y + z)[None]
    region = np.zeros((6, 7, 8), bool)
    region[2:4, 2:5, 3:6] = True
    assert np.allclose(harmonic(np.where(region, 99.0, slope), region), slope)
    corner = np.zeros((6, 7, 8), bool)
    corner[:2, :2, :2] = True  # at the edge nothing flows: the mean value stays within its border
    found = harmonic(slope, corner)[0][corner]
    assert slope.min() <= found.min()
    assert found.max() <= slope.max()
    with pytest.raises(ParameterError, match="whole image"):
        harmonic(slope, np.ones((6, 7, 8), bool))


def test_taking_the_disc_away_changes_the_answer(trained):
    path, data = trained
    hits: list[float] = []
    for case in data.of("test")[1:8:2]:
        image = case.image()
        found = why.explain(path, image, method="counterfactual")
        assert found.target == "1"
        what = found.counterfactual
        assert what is not None
        assert what.flipped
        assert what.share < 0.5
        assert what.by_chance < 0.5
        disc = image.data[0] > 130
        hits.append(what.region[disc].mean())
        assert np.array_equal(found.map.data[0] > 0.5, what.region)
        assert "changes the answer" in found.words
    assert np.mean(hits) > 0.5
    other = why.explain(path, data.of("test")[0].image(), method="counterfactual", target="1")
    assert "to begin with" in other.words  # there is no disc


@pytest.mark.parametrize(
    ("threshold", "temperature", "offsets", "target", "limit"),
    [
        (0.5, 2.0, (), 1, 0.0), (0.8, 1.0, (), 1, np.log(4)), (0.8, 2.0, (), 0, -2 * np.log(4)),
        (0.8, 2.0, (0.5, -0.5), 1, 2 * (np.log(4) + 1)),
    ],
)  # fmt: skip
def test_the_answer_turns_where_the_card_says(
    trained, threshold, temperature, offsets, target, limit
):
    card = replace(package.read(trained[0]).card, threshold=threshold, temperature=temperature,
                   offsets=offsets)  # fmt: skip
    turn = why.turning(card, target, 0.0)
    assert turn == pytest.approx(limit)
    for score in (turn - 0.1, turn + 0.1):  # of two classes: the score is the logit's difference
        logits = np.array([0.0, score if target == 1 else -score])
        said = decided(card, softmax(logits, temperature=temperature, offsets=offsets))
        assert (said == target) == (score > turn)


def test_prototypes_are_of_the_same_kind(trained):
    path, data = trained
    right: list[bool] = []
    for case in data.of("test")[:8]:
        alike = nearest(path, case.image(), count=5)
        assert [a.likeness for a in alike] == sorted((a.likeness for a in alike), reverse=True)
        assert all(a.name.startswith("train_") for a in alike)
        right += [a.kind == str(case.label) for a in alike]
        assert all(a.picture is None for a in alike)  # nobody is shown unasked
    assert np.mean(right) > 0.8


def test_large_volumes_are_looked_at_in_their_middle():
    net = build({"kind": "unet", "inputs": 1, "outputs": 2, "dimensions": 2, "widths": [4, 8],
                 "stem": 2})  # fmt: skip
    x = torch.randn(1, 1030, 36)
    some = [Sample("a", "a", x), Sample("b", "b", x[:, 3:1027])]
    found = prototypes(net, some)
    assert found.features[0] == pytest.approx(found.features[1])
    assert found.features.shape == (2, 8)


def test_prototypes_come_back_as_they_were_written():
    rng = np.random.default_rng(1)
    one = Prototypes(rng.normal(size=(3, 4)), ("a", "b", "c"), (0, 1, -1),
                     rng.integers(0, 255, (3, 48, 48), np.uint8))  # fmt: skip
    again = Prototypes.from_bytes(one.to_bytes())
    assert (again.names, again.classes) == (one.names, one.classes)
    assert np.allclose(again.features, one.features, rtol=1e-3)
    assert np.array_equal(again.pictures, one.pictures)
    for bad in (b"", b"\x80\x04.", one.to_bytes()[:-20]):
        with pytest.raises(CorruptFile, match="cannot be read"):
            Prototypes.from_bytes(bad)


def test_an_explanation_is_a_parametric_map_with_its_figures(trained):
    path, data = trained
    image = replace(data.of("test")[1].image(), attributes={"PatientID": "P1"})
    params = {"model": str(path), "method": "layercam"}
    check_operation(explain, params=params, inputs=(image,))
    found = explain(image, **params)
    (file,) = encode(found)
    again = pm.read(file)
    assert np.array_equal(again.data, found.data)
    assert again.grid.allclose(image.grid)
    assert again.attributes["PatientID"] == "P1"
    assert "layercam" in str(again.attributes["SeriesDescription"])


def test_the_archive_gets_the_map_into_the_study_it_explains(trained, tmp_path):
    path, data = trained
    facts = {"StudyInstanceUID": "2.25.11", "PatientID": "P1", "PatientName": "Disc"}
    image = replace(data.of("test")[1].image(), modality="MR", attributes=facts)
    archive = Archive.open(tmp_path / "archive")
    try:
        files = instances(image)
        for file in files:
            archive.store(file)
        uid = scan(files[0]).series
        (made,) = execute(archive, "learn.explain", [uid], {"model": str(path)})
        found = from_archive(archive, made, noun="Image")
    finally:
        archive.close()
    assert found.grid.allclose(image.grid)
    assert found.data.max() > 0
    assert found.attributes["StudyInstanceUID"] == "2.25.11"
    assert "learn.explain" in str(found.attributes["SeriesDescription"])


def test_lenet_layer_by_layer():
    found = layers(LeNet(), torch.randn(1, 1, 28, 28))
    assert [f.name for f in found] == ["c1", "s2", "c3", "s4", "c5", "f6", "output"]
    assert [f.shape for f in found] == [
        (6, 28, 28), (6, 14, 14), (16, 10, 10), (16, 5, 5), (120,), (84,), (10,),
    ]  # fmt: skip
    text = page(found, title="LeNet", image=np.zeros((1, 28, 28)))
    assert text.count("<details") == 7
    assert text.count("<img class=map") == 6 + 6 + 16 + 16
    assert text.count("alt='kernels'") == 1


def test_layers_of_a_volume_keep_slices_to_walk_through():
    net = build({"kind": "unet", "inputs": 1, "outputs": 2, "dimensions": 3, "widths": [4, 8]})
    x = torch.randn(1, 1, 8, 16, 12)
    found = layers(net, x)
    assert found[0].planes.shape == (5, 4, 16, 12)
    text = page(found, title="U-Net", image=x[0].numpy())
    assert "<input id=z" in text
    first = text.index("data-planes")
    assert text[first : text.index(">", first)].count("data:image/png") == 5


def test_unknown_class_and_missing_weights(trained, tmp_path):
    path, data = trained
    image = data.cases[0].image()
    with pytest.raises(ParameterError, match="no class"):
        why.explain(path, image, target="cat")
    packed = package.read(path)
    package.write(replace(packed, extras={}), tmp_path / "bare")
    with pytest.raises(NotFound, match="train it again with somascope train"):
        why.explain(tmp_path / "bare", image)


def test_from_the_command_line(trained, tmp_path):
    path, data = trained
    write(data.of("test")[1].image(), tmp_path / "one.png")
    run = CliRunner().invoke(
        app, ["explain", str(path), str(tmp_path / "one.png"), "-o", str(tmp_path / "o"), "--json"]
    )
    assert run.exit_code == 0, run.output
    assert json.loads(run.output)[0]["id"] == "one"
    for name in ("one_gradcam.png", "one_gradcam.nii.gz", "one_layers.html", "one.html"):
        assert (tmp_path / "o" / name).is_file()
    run = CliRunner().invoke(
        app, ["explain", str(path), str(tmp_path / "one.png"), "-o", str(tmp_path / "o"),
              "--method", "counterfactual", "--sanity"],
    )  # fmt: skip
    assert run.exit_code == 0, run.output
    assert "such regions elsewhere" in run.output
    assert "alike +" in run.output


def test_of_two_stages_the_second_is_explained_where_the_first_one_looks(tmp_path):
    from somascope.models import package, stages

    data = open_dataset(worlds.pairs(tmp_path / "discs", count=12), "segment")
    chosen = planned(data, budget_minutes=0.2, machine=Machine(1, "", 8.0))
    how = replace(chosen.preparation, scaling="zscore")
    network = {**chosen.network, "widths": [8, 16]}
    chosen = replace(chosen, network=network, batch=4, preparation=how)
    make(data, tmp_path / "one", chosen=chosen, steps=120, last=True)
    one = package.read(tmp_path / "one")
    package.write(stages.join(one, one, name="both", margin_mm=3.0), tmp_path / "both")
    image = data.cases[0].image()
    card, _, _ = why.opened(tmp_path / "both")
    (part,), levels = why.looked_at(tmp_path / "both", card, [image])
    assert part.grid.shape[1] < image.grid.shape[1]
    assert levels is not None
    found = why.explain(tmp_path / "both", image, method="occlusion")
    assert found.map.grid.allclose(image.grid)
    inside = np.zeros(image.grid.shape, bool)
    first = np.rint(image.grid.to_index(part.grid.origin)).astype(int)
    inside[0, max(first[1] - 1, 0) : first[1] + part.grid.shape[1] + 1,
           max(first[2] - 1, 0) : first[2] + part.grid.shape[2] + 1] = True  # fmt: skip
    assert np.abs(found.map.data[~inside]).max() == 0
    assert np.abs(found.map.data[inside]).max() > 0
    assert found.insertion > found.random[1]
    said = written(tmp_path / "both", [image], tmp_path / "why", name="a", methods=["gradcam"])
    assert said["target"] == "label 1"
