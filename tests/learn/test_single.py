"""Single objects: what a network is shown of each, and that it uses its look, its surroundings and
its place.
"""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from somascope.cli.app import app
from somascope.core import Axis, Grid, Image, Mask, Segment
from somascope.core.errors import CorruptFile, NotFound, ParameterError, Refused, SomascopeError
from somascope.io import write
from somascope.learn import explain as why
from somascope.learn.datasets import Case, Dataset, open_dataset
from somascope.learn.datasets.objects import singled
from somascope.learn.evaluate import evaluate
from somascope.learn.fingerprint import duplicates
from somascope.learn.make import make, planned
from somascope.learn.networks import build
from somascope.learn.networks.single import place
from somascope.learn.plan import Machine, Plan
from somascope.learn.report import page
from somascope.learn.tasks import samples
from somascope.models import load, operations
from somascope.models.card import NetworkCard
from somascope.models.prepare import Preparation
from somascope.models.single import Shown, Single, around, found_in, of_coco

SIZE = 64


def picture(rng, kind, sort):
    """A noisy picture with two discs; what ``sort`` says makes them of class ``kind``."""
    values = rng.normal(60, 6, (SIZE, SIZE))
    y, x = np.mgrid[:SIZE, :SIZE]
    rows = []
    for n in range(2):
        k = int(rng.integers(2)) if sort != "around" else kind
        r = rng.uniform(5, 7)
        low, high = (9, 27) if (sort == "place" and k) else (37, 55)
        if sort != "place":
            low, high = 9, 55
        cy, cx = rng.uniform(low, high), rng.uniform(9, 23) + 32 * n
        inside = (y - cy) ** 2 + (x - cx) ** 2 <= r**2
        stripes = 40 * np.sign(np.sin(x * 2.1)) if sort == "look" and k else 0
        values = np.where(inside, 140 + stripes + rng.normal(0, 6, values.shape), values)
        rows.append((cy - r, cx - r, cy + r, cx + r, k))
    if sort == "around" and kind:  # a frame, out of sight of most crops
        values[:3] = values[-3:] = 150
    return np.clip(values, 0, 255).astype(np.uint8), np.array(rows)


def world(sort, *, count=60, seed=0):
    rng = np.random.default_rng(seed)
    cases = []
    for i in range(count):
        values, rows = picture(rng, i % 2, sort)
        image = Image(values[None], Grid.from_spacing((1, SIZE, SIZE), (1, 1, 1)))
        split = ("train", "train", "val", "test")[i // 2 % 4]
        cases.append(Case(f"p{i}", f"p{i}", lambda image=image: image, split, boxes=rows))
    return singled(Dataset(sort, "detect", ("plain", "other"), tuple(cases)))


def small(dataset, **more):
    plan = planned(dataset, budget_minutes=1.0, machine=Machine(1, "", 8.0))
    network = {**plan.network, "widths": [8, 16], "blocks": 1, "stem": 1}
    return replace(plan, network=network, batch=16, **more)


@pytest.mark.parametrize("sort", ["look", "around", "place"])
def test_learns_from_look_surroundings_and_place(sort, tmp_path):
    data = world(sort)
    chosen = small(data)
    assert chosen.network["kind"] == "single"
    assert "crop" in chosen.reasons["single"]
    card, _ = make(data, tmp_path / "model", chosen=chosen, steps=70, last=True)
    assert card.single == chosen.single
    result = evaluate(load(tmp_path / "model"), data, draws=20)
    assert result.split == "test"
    assert result.value("auc") > 0.93
    if sort == "look":  # the picture of the report has the box in it
        assert "truth other" in page(result, load(tmp_path / "model"), data)


def test_crop_mark_and_whole_are_where_the_object_is():
    rng = np.random.default_rng(1)
    a = 0.4
    direction = [[0, np.sin(a), np.cos(a)], [0, np.cos(a), -np.sin(a)], [1, 0, 0]]
    grid = Grid.from_spacing((20, 40, 50), (3.0, 1.0, 0.8), origin=(5, -9, 30), direction=direction)
    index = np.stack(np.meshgrid(*[np.arange(n) for n in grid.shape], indexing="ij"), -1)
    centre = np.array([12.0, 25.0, 17.0])
    far = np.linalg.norm((index - centre) * grid.spacing, axis=-1)
    values = (1000 * np.exp(-((far / 5) ** 2)) + rng.normal(0, 1, grid.shape)).astype(np.float32)
    box = np.array([10.5, 20.5, 11.5, 14.5, 30.5, 23.5])  # 12 x 10 x 9.6 mm around it
    how = Preparation(orient=True, size=(24, 24, 24), scaling="none")
    shown = Shown(Image(values, grid, "MR"), how, Single(2.0, 4.0), channels=1)
    crop = shown.crop(box)
    assert crop.grid.spacing == pytest.approx((1.0, 1.0, 1.0))  # 2 x 12 mm over 24
    middle = np.unravel_index(crop.data[0].argmax(), crop.grid.shape)
    found = crop.grid.to_world(np.array(middle))
    assert np.linalg.norm(found - grid.to_world(centre)) < 1.5
    mark, whole = shown.mark(box), shown.array(box)
    assert whole.shape == (3, 24, 24, 24)
    fine = np.linalg.norm(np.asarray(shown._whole.grid.spacing))
    weighed = (mark[..., None] * np.stack(np.indices(mark.shape), -1)).sum((0, 1, 2)) / mark.sum()
    there = shown._whole.grid.to_world(weighed)
    assert np.linalg.norm(there - grid.to_world(centre)) < 0.1 * fine
    volume = mark.sum() * np.prod(shown._whole.grid.spacing)
    assert volume == pytest.approx(12 * 10 * 9.6, rel=0.02)
    # The same object seen in another direction of storing is the same array.
    flipped = Image(values[:, ::-1].copy(), grid.moved(start=(0, 39, 0), shape=grid.shape,
                                                      step=(1, -1, 1)), "MR")  # fmt: skip
    turned = box.copy()
    turned[[1, 4]] = 40 - box[[4, 1]]
    other = Shown(flipped, how, Single(2.0, 4.0), channels=1).array(turned)
    assert np.allclose(other, whole, atol=0.5)


def test_small_objects_are_seen_at_one_scale_and_large_ones_whole():
    grid = Grid.from_spacing((1, 90, 100), (1, 1, 1))
    image = Image(np.random.default_rng(0).normal(size=(1, 90, 100)).astype(np.float32), grid)
    shown = Shown(image, Preparation(size=(1, 32, 32)), Single(1.6, 32.0), channels=1)
    assert shown.crop([40, 40, 44, 45]).grid.spacing[1:] == pytest.approx((1.0, 1.0))
    assert shown.crop([40, 40, 60, 50]).grid.spacing[1:] == pytest.approx((1.0, 1.0))
    assert shown.crop([10, 10, 50, 20]).grid.spacing[1:] == pytest.approx((2.0, 2.0))
    beyond = shown.crop([-3, 80, 9, 104])  # reaches out of the picture
    assert np.isfinite(beyond.data).all()
    for box, said in (
        ([5, 5, 5, 9], "no voxel"), ([95, 5, 99, 9], "no voxel"), ([1, 2, 3], "4 numbers"),
        ([1, 2, np.nan, 9], "4 numbers"), ([1, 2, 3, 4, 5, 6], "4 numbers"),
    ):  # fmt: skip
        with pytest.raises(ParameterError, match=said):
            shown.crop(box)


def test_colours_stay_colours():
    grid = Grid.from_spacing((1, 40, 40), (1, 1, 1))
    data = np.zeros((3, 1, 40, 40), np.uint8)
    data[0, :, 10:20, 10:20] = 200
    image = Image(data, grid, axes=(Axis("channel"),))
    how = Preparation(size=(1, 16, 16), scaling="range", high=255.0)
    array = Shown(image, how, Single(1.0, 0.0), channels=3).array([10, 10, 20, 20])
    assert array.shape == (7, 1, 16, 16)
    assert array[0].mean() > 0.7
    assert array[1:3].max() == 0
    assert array[3].mean() == pytest.approx(100 * 200 / 255 / 1600, rel=0.05)


def test_place_is_centre_and_size():
    mark = torch.zeros(2, 21, 41)
    mark[0, 5:16, 0:21] = 1
    mark[1, 0, 40] = 0.5
    said = place(mark)
    assert said[0, :2] == pytest.approx([0.0, -0.5], abs=1e-5)
    assert said[1, :2] == pytest.approx([-1.0, 1.0], abs=1e-5)
    assert (said[0, 2:] > said[1, 2:]).all()
    assert torch.isfinite(place(torch.zeros(1, 8, 8, 8))).all()


def test_volumes_with_masks_of_several_bodies_become_objects(tmp_path):
    rng = np.random.default_rng(0)
    cases = []
    for i in range(16):
        labels = np.zeros((16, 24, 24), np.uint8)
        labels[2:7, 3:9, 3:9] = 1
        labels[9:15, 13:21, 12:22] = 2
        values = rng.normal(0, 20, labels.shape) + 100 * (labels == 1) + 300 * (labels == 2)
        image = Image(values.astype(np.float32), Grid.from_spacing(labels.shape, (2, 1, 1)), "CT")
        cases.append(Case(f"v{i}", f"v{i}", lambda image=image: image, mask=lambda m=labels: m))
    from somascope.learn.datasets.objects import outlined

    data = singled(outlined(Dataset("v", "segment", ("dark", "bright"), tuple(cases), "CT")))
    assert len(data.cases) == 32
    assert [c.label for c in data.cases[:2]] == [0, 1]
    assert data.cases[0].box == pytest.approx([2, 3, 3, 7, 9, 9])
    assert duplicates(data.cases) == []  # two objects of one image are no copies
    chosen = small(data)
    assert chosen.preparation.size == (24, 24, 24)  # 1.6 x 11 mm
    assert Plan.from_json(chosen.to_json()) == chosen
    ready = samples(data.cases[:4], chosen)
    assert ready[0].image.shape == (3, 24, 24, 24)
    card, _ = make(data, tmp_path / "m", chosen=chosen, steps=25, last=True)
    assert "single objects" in card.summary
    image = data.cases[0].image()
    mask = Mask(data=cases[0].mask(), grid=image.grid, segments=(Segment(1, "a"), Segment(2, "b")))
    found = operations.classify_objects(image, mask, model=str(tmp_path / "m"))
    assert [b.concept.meaning for b in found] == ["dark", "bright"]
    assert found[1].lower == (9, 13, 12)
    assert found[1].upper == (14, 20, 21)
    with pytest.raises(ParameterError, match="mask of the objects, or a detector"):
        operations.classify_objects(image, model=str(tmp_path / "m"))
    with pytest.raises(Refused, match="single objects"):
        operations.classify(image, model=str(tmp_path / "m"))
    beside = mask.grid.moved(start=(1, 0, 0), shape=mask.grid.shape, step=(1, 1, 1))
    off = Mask(data=mask.data, grid=beside, segments=mask.segments)
    with pytest.raises(ParameterError, match="another grid"):
        operations.classify_objects(image, off, model=str(tmp_path / "m"))
    explained = why.explain(tmp_path / "m", image, box=data.cases[1].box, method="gradients")
    assert explained.map.grid.allclose(image.grid)
    assert explained.map.data[2:7, 3:9, 3:9].max() == 0  # outside the crop nothing is said
    assert explained.map.data[9:15, 13:21, 12:22].max() > 0
    with pytest.raises(ParameterError, match="single objects"):
        why.explain(tmp_path / "m", image)


def voc(root, *, count=24):
    rng = np.random.default_rng(2)
    names = ("plain", "striped")
    for i in range(count):
        values, rows = picture(rng, 0, "look")
        grid = Grid.from_spacing((1, SIZE, SIZE), (1, 1, 1))
        write(Image(values[None], grid), root / "JPEGImages" / f"cell{i:03d}.png")
        marks = "".join(
            f"<object><name>{names[int(r[4])]}</name><bndbox><xmin>{r[1] + 1:.0f}</xmin><ymin>"
            f"{r[0] + 1:.0f}</ymin><xmax>{r[3]:.0f}</xmax><ymax>{r[2]:.0f}</ymax></bndbox></object>"
            for r in rows
        )
        paper = root / "Annotations" / f"cell{i:03d}.xml"
        paper.parent.mkdir(exist_ok=True)
        paper.write_text(f"<annotation>{marks}</annotation>")
    return root


def test_from_the_command_line(tmp_path):
    root = voc(tmp_path / "voc")
    data = open_dataset(root, "classify", objects=True)
    assert data.classes == ("plain", "striped")
    assert len(data.cases) == 48
    assert len({c.patient for c in data.cases}) == 24
    (tmp_path / "plan.json").write_text(replace(small(data), most_steps=30).to_json())
    run = CliRunner()
    call = ["train", "classify", str(root), "-o", str(tmp_path / "m"), "--objects", "--plan",
            str(tmp_path / "plan.json"), "--json"]  # fmt: skip
    done = run.invoke(app, call)
    assert done.exit_code == 0, done.output
    # What a detector writes says where to look: the second of its boxes is too unsure.
    boxes = [{"image": "cell000", "category": "x", "bbox": [5, 6, 12, 13], "score": s}
             for s in (0.9, 0.1)]  # fmt: skip
    (tmp_path / "found.json").write_text(json.dumps(boxes))
    picture_ = str(root / "JPEGImages" / "cell000.png")
    call = ["predict", str(tmp_path / "m"), picture_, "-o", str(tmp_path / "out")]
    done = run.invoke(app, [*call, "--boxes", str(tmp_path / "found.json"), "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.output)["answers"][0]["bbox"] == [5, 6, 12, 13]
    with (tmp_path / "out" / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [r["id"] for r in rows] == ["cell000#0"]
    assert set(rows[0]) == {"id", "p_plain", "p_striped"}
    assert sum(float(rows[0][f"p_{c}"]) for c in data.classes) == pytest.approx(1)
    done = run.invoke(app, [*call, "--boxes", str(root)])
    assert done.exit_code == 0, done.output
    assert len((tmp_path / "out" / "predictions.csv").read_text().splitlines()) == 3
    done = run.invoke(app, call)
    assert done.exit_code != 0
    assert "single objects" in str(done.exception)
    done = run.invoke(app, ["evaluate", str(tmp_path / "m"), str(root), "-o", str(tmp_path / "r")])
    assert done.exit_code == 0, done.output
    call = ["explain", str(tmp_path / "m"), picture_, "-o", str(tmp_path / "why"), "--boxes",
            str(root), "--json"]  # fmt: skip
    done = run.invoke(app, call)
    assert done.exit_code == 0, done.output
    assert [one["id"] for one in json.loads(done.output)] == ["cell000_0", "cell000_1"]
    assert (tmp_path / "why" / "cell000_1_gradcam.png").is_file()
    assert (tmp_path / "why" / "cell000_1_layers.html").is_file()


def test_pictures_with_masks_beside_them(tmp_path):
    grid = Grid.from_spacing((1, 30, 40), (1, 1, 1))
    for kind, rows in (("benign", 10), ("malignant", 12), ("normal", 0)):
        for i in range(2):
            data = np.full((1, 30, 40), 9, np.uint8)
            mask = np.zeros((1, 30, 40), np.uint8)
            mask[0, 5 : 5 + rows, 7:20] = 255
            write(Image(data, grid), tmp_path / kind / f"{kind} ({i}).png")
            write(Image(mask, grid), tmp_path / kind / f"{kind} ({i})_mask.png")
    second = np.zeros((1, 30, 40), np.uint8)
    second[0, 20:25, 30:33] = 255
    write(Image(second, grid), tmp_path / "benign" / "benign (1)_mask_1.png")
    data = open_dataset(tmp_path, "classify", objects=True)
    assert data.classes == ("benign", "malignant")
    boxes = {c.id: c.box.tolist() for c in data.cases}
    assert boxes["benign/benign (0).png"] == [5, 7, 15, 20]
    assert boxes["benign/benign (1).png"] == [5, 7, 25, 33]
    assert len(boxes) == 4
    assert open_dataset(tmp_path, "classify").classes == ("benign", "malignant", "normal")


def test_what_cannot_be_is_refused(tmp_path):
    data = world("look", count=16)
    (tmp_path / "a").mkdir()
    with pytest.raises(NotFound, match=r"NAME_mask\.png"):
        open_dataset(tmp_path, "classify", objects=True)
    with pytest.raises(ParameterError, match="found as they are"):
        open_dataset(tmp_path, "detect", objects=True)
    one = Case("a", "a", data.cases[0].image, boxes=np.array([[1, 2, 3, 4, 0.0]]))
    with pytest.raises(ParameterError, match="1 classes"):
        singled(Dataset("d", "detect", ("a",), (one,)))
    with pytest.raises(ParameterError, match="memory"):
        make(data, tmp_path / "m", chosen=small(data), memory="gru")
    whole = replace(data, cases=tuple(replace(c, box=None) for c in data.cases))
    with pytest.raises(ParameterError, match="whole image"):
        samples(whole.cases, small(data))
    for text in ("{}", "[1]", '[{"image": "a"}]', '[{"image": "a", "bbox": [1, 2, 3]}]', "["):
        (tmp_path / "b.json").write_text(text)
        if text == "{}":
            assert found_in(tmp_path / "b.json") == {}
            continue
        with pytest.raises(CorruptFile):
            found_in(tmp_path / "b.json")
    assert of_coco([1, 2, 3, 10, 20, 30]).tolist() == [3, 2, 1, 33, 22, 11]
    for record in ({"factor": 0.5, "least_mm": 1}, {"factor": 2, "least_mm": float("nan")}):
        with pytest.raises(SomascopeError):
            Single.from_record(record)


def test_a_card_of_single_objects_is_read_again_and_checked(tmp_path):
    data = world("look", count=16)
    card, _ = make(data, tmp_path / "m", chosen=small(data), steps=9, last=True)
    again = NetworkCard.from_json(card.to_json())
    assert again.single == card.single
    record = json.loads(card.to_json())
    record["preparation"] = {**record["preparation"], "size": []}
    with pytest.raises(CorruptFile):
        NetworkCard.from_json(json.dumps(record))
    image = data.cases[0].image()
    with pytest.raises(Refused, match="single objects"):
        load(tmp_path / "m")(image)
    (box,) = load(tmp_path / "m")(image, objects=[[3, 4, 12, 15]])
    assert box.lower == (0, 3, 4)
    assert load(tmp_path / "m")(image, objects=[]) == []


def test_fractional_masks_count_from_one_half():
    grid = Grid.from_spacing((1, 8, 8), (1, 1, 1))
    planes = np.zeros((1, 1, 8, 8), np.float32)
    planes[0, 0, 1:3, 2:5] = 0.7
    planes[0, 0, 5:7, 5:7] = 0.4
    found = around(Mask(data=planes, grid=grid, segments=(Segment(1, "a"),)))
    assert found.tolist() == [[1, 2, 3, 5]]


def test_the_networks_of_crop_and_whole_see_their_own_channels():
    torch.manual_seed(0)
    net = build({"kind": "single", "inputs": 3, "outputs": 2, "widths": [4, 8], "blocks": 1}).eval()
    x = torch.randn(2, 7, 32, 32)
    assert net(x).shape == (2, 2)
    other = x.clone()
    other[:, :3] = 0
    assert torch.equal(net.features(x), net.near.features(x[:, :3]))
    assert not torch.allclose(net(x), net(other))
