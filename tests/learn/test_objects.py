"""Objects in volumes: from data sets of any form to boxes in the patient, and their figures."""

import csv
import io
import json
from dataclasses import replace

import numpy as np
import pydicom
import pytest
import torch
from scipy import ndimage
from typer.testing import CliRunner

from somascope.archive import Archive
from somascope.cli.app import app
from somascope.core import Box, Grid, Image, Mask, Provenance, Segment, Step
from somascope.core.errors import CorruptFile, ParameterError
from somascope.io import read, write
from somascope.io.dicom import sr
from somascope.io.dicom.write import instances
from somascope.learn.datasets import open_dataset
from somascope.learn.datasets.objects import boxes_of
from somascope.learn.evaluate import evaluate
from somascope.learn.fingerprint import fingerprint
from somascope.learn.make import make, planned
from somascope.learn.networks import build
from somascope.learn.plan import Machine, Plan
from somascope.learn.tasks.detect import moved, targets
from somascope.learn.tasks.sample import sample
from somascope.models import load
from somascope.models.detect import carried, peaks, suppressed
from somascope.testing import check_model

OBLIQUE = [[0, np.sin(0.3), np.cos(0.3)], [0, np.cos(0.3), -np.sin(0.3)], [1, 0, 0]]


def balls(rng, *, shape=(24, 40, 36), spacing=(2.0, 1.0, 1.0), count=2):
    """A volume on a tilted grid with bright and dark balls, and the label map of both kinds."""
    labels = np.zeros(shape, np.uint8)
    values = rng.normal(100, 10, shape)
    index = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), -1)
    for i in range(count):
        column = (i + 0.5) * shape[2] / count
        centre = [rng.uniform(5, shape[0] - 5), rng.uniform(9, shape[1] - 9), column]
        far = np.linalg.norm((index - centre) * spacing, axis=-1)
        inside = far < rng.uniform(5.0, 7.0)
        labels[inside] = 1 + i % 2
        values[inside] += 120.0 if i % 2 == 0 else -90.0
    grid = Grid.from_spacing(shape, spacing, origin=(5, -20, 30), direction=OBLIQUE)
    return Image(values.astype(np.float32), grid, "MR"), labels


def decathlon(root, *, count=10, seed=0):
    rng = np.random.default_rng(seed)
    training = []
    for i in range(count):
        image, labels = balls(rng)
        name = f"balls_{i:03d}.nii.gz"
        write(image, root / "imagesTr" / name)
        mask = Mask(data=labels, grid=image.grid,
                    segments=(Segment(1, "bright"), Segment(2, "dark")))  # fmt: skip
        write(mask, root / "labelsTr" / name)
        training.append({"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"})
    described = {"name": "Balls", "modality": {"0": "MRI"}, "training": training,
                 "labels": {"0": "background", "1": "bright", "2": "dark"}}  # fmt: skip
    (root / "dataset.json").write_text(json.dumps(described))
    return root


def small(data, *, widths=(8, 16), **changes):
    plan = planned(data, budget_minutes=5, machine=Machine(cores=1), modality="MR")
    network = {**plan.network, "widths": list(widths)}
    return replace(plan, network=network, **changes)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A detector of balls, trained for a minute at most."""
    root = tmp_path_factory.mktemp("objects")
    data = open_dataset(decathlon(root / "Task98"), "detect")
    plan = small(data, patch=(16, 32, 32), batch=4, rate=6e-3)
    card, run = make(data, root / "model", chosen=plan, steps=80, last=True, name="detect.balls")
    return root, data, card, run


def test_boxes_of_components_are_those_of_scipy():
    rng = np.random.default_rng(3)
    labels = (ndimage.gaussian_filter(rng.normal(size=(12, 20, 18)), 1.5) > 0.12).astype(np.uint8)
    numbered, count = ndimage.label(labels, np.ones((3, 3, 3)))
    wanted = {
        (*(s.start for s in o), *(s.stop for s in o), 0) for o in ndimage.find_objects(numbered)
    }
    found = boxes_of(labels, 1)
    assert len(found) == count > 3
    assert {tuple(row) for row in found} == wanted
    corners = found[:, :6].astype(int)
    sizes = [labels[a:d, b:e, c:f].sum() for a, b, c, d, e, f in corners]
    assert sizes[0] == max(sizes)
    assert len(boxes_of(labels, 1, least=30)) < count


def test_a_list_in_voxels_one_in_millimetres_and_a_table_say_the_same(tmp_path):
    rng = np.random.default_rng(5)
    image, labels = balls(rng)
    write(image, tmp_path / "images" / "a.nii.gz")
    truth = boxes_of(labels, 2)
    grid = read(tmp_path / "images" / "a.nii.gz").grid
    kinds = [{"id": 7, "name": "bright"}, {"id": 9, "name": "dark"}]
    voxels, metric, rows = [], [], []
    for z0, y0, x0, z1, y1, x1, k in truth:
        which = {"image_id": 1, "category_id": 7 if k == 0 else 9}
        voxels.append({**which, "bbox": [x0, y0, z0, x1 - x0, y1 - y0, z1 - z0]})
        centre = grid.to_world(np.array([z0 + z1 - 1, y0 + y1 - 1, x0 + x1 - 1]) / 2).tolist()
        size = [(x1 - x0) * 1.0, (y1 - y0) * 1.0, (z1 - z0) * 2.0]
        metric.append({**which, "center_mm": centre, "size_mm": size})
        rows.append(["a", *centre, size[0], "bright" if k == 0 else "dark"])
    for name, annotations in (("voxels", voxels), ("metric", metric)):
        record = {"images": [{"id": 1, "file_name": "a.nii.gz"}], "categories": kinds,
                  "annotations": annotations}  # fmt: skip
        (tmp_path / f"{name}.json").write_text(json.dumps(record))
    with (tmp_path / "points.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["seriesuid", "coordX", "coordY", "coordZ", "diameter_mm", "class"])
        writer.writerows(rows)
    for name in ("voxels.json", "metric.json"):
        data = open_dataset(tmp_path / name, "detect")
        assert data.classes == ("bright", "dark")
        assert np.allclose(data.cases[0].boxes, truth, atol=1e-3)
    points = open_dataset(tmp_path / "points.csv", "detect").cases[0].boxes
    middle = (truth[:, :3] + truth[:, 3:6]) / 2
    assert np.allclose((points[:, :3] + points[:, 3:6]) / 2, middle, atol=1e-3)
    assert np.allclose((points[:, 3] - points[:, 0]) * 2, points[:, 5] - points[:, 2])


@pytest.mark.parametrize(
    "wrong",
    [{"bbox": [1, 2, 3, 4, 5, 0]}, {"bbox": [1, 2, 3, 4, 5]}, {"center_mm": [1, 2, 3]},
     {"center_mm": [1, 2], "size_mm": 3}, {}],
)  # fmt: skip
def test_what_is_no_box_is_refused_by_name(tmp_path, wrong):
    good = {"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4, 5, 6]}
    record = {
        "images": [{"id": 1, "file_name": "a.nii.gz"}], "categories": [{"id": 1, "name": "x"}],
        "annotations": [good, {"image_id": 1, "category_id": 1, **wrong}],
    }  # fmt: skip
    (tmp_path / "boxes.json").write_text(json.dumps(record))
    with pytest.raises(CorruptFile, match=r"boxes\.json"):
        open_dataset(tmp_path / "boxes.json", "detect")


def test_a_plan_for_objects_says_why(tmp_path):
    data = open_dataset(decathlon(tmp_path / "Task98", count=3), "detect")
    facts = fingerprint(data)
    sides = np.concatenate([(c.boxes[:, 3:6] - c.boxes[:, :3]) * (2, 1, 1) for c in data.cases])
    assert facts.box_median == pytest.approx(np.median(sides.min(axis=1)))
    plan = planned(data, budget_minutes=30, machine=Machine(cores=2))
    assert plan.preparation.spacing[0] >= 2.0  # no finer than measured
    assert plan.preparation.spacing[1] == pytest.approx(max(facts.box_small / 8, 1.0), abs=1e-3)
    assert all(n % 16 == 0 for n in plan.patch)
    assert (plan.stride, plan.network["kind"]) == (2, "detector")
    assert {"spacing", "patch", "network", "stem", "biases", "loss"} <= set(plan.reasons)
    assert Plan.from_json(plan.to_json()) == plan
    network = build(plan.network).eval()
    with torch.inference_mode():
        maps = network(torch.zeros(1, 1, *plan.patch))
    assert maps.shape == (1, 2 + 6, *(n // 2 for n in plan.patch))
    with pytest.raises(ParameterError, match="no boxes"):
        planned(data.only([replace(c, boxes=np.zeros((0, 7))) for c in data.cases]))


def test_targets_of_boxes_are_boxes_again():
    boxes = np.array([[2, 4, 6, 12, 18, 30, 0], [20, 20, 8, 28, 30, 20, 1.0]])
    made = targets(boxes, 2, (32, 32, 32), 2)
    heat = made["heat"].numpy().clip(1e-6, 1 - 1e-6)
    maps = np.concatenate([np.log(heat / (1 - heat)), made["size"], made["offset"]])
    corners, _, kind = peaks(maps, classes=2, stride=2, threshold=0.9)
    order = np.argsort(kind)
    assert np.allclose(corners[order], boxes[:, :6], atol=1e-3)
    assert kind[order].tolist() == [0, 1]


def test_boxes_follow_the_patch_that_was_drawn():
    boxes = np.array([[4.0, 6, 8, 10, 16, 20, 1]])
    where = np.array([15.5, 15.5, 15.5])
    same = moved(boxes, np.eye(3), where=where, patch=(32, 32, 32))
    assert np.allclose(same, boxes)
    mirrored = moved(boxes, np.diag([1.0, 1.0, -1.0]), where=where, patch=(32, 32, 32))
    assert np.allclose(mirrored, [[4, 6, 12, 10, 16, 24, 1]])
    twice = moved(boxes, np.eye(3) * 2, where=where, patch=(32, 32, 32))
    assert np.allclose(twice[:, 3:6] - twice[:, :3], 2 * (boxes[:, 3:6] - boxes[:, :3]))


def test_a_prepared_box_is_where_it_was_in_the_patient(trained):
    _, data, _, _ = trained
    plan = small(data)
    case = data.cases[0]
    image = case.image()
    s = sample(case, plan)
    spacing = np.asarray(plan.preparation.spacing)
    assert np.allclose(
        np.prod(s.boxes[:, 3:6] - s.boxes[:, :3], axis=1) * spacing.prod(),
        np.prod(case.boxes[:, 3:6] - case.boxes[:, :3], axis=1) * image.grid.voxel_volume,
    )
    bright = s.boxes[s.boxes[:, 6] == 0][0]
    z, y, x = ((bright[:3] + bright[3:6]) / 2).astype(int)
    values = s.image[0].numpy()
    assert values[z, y, x] > values.mean() + 2 * values.std()


def test_detect_from_label_maps_to_boxes_in_the_patient(trained):
    _, data, card, run = trained
    assert run.best > 0.5
    assert card.patch == (16, 32, 32)
    model = load(trained[0] / "model")
    case = data.cases[0]
    image = model.card.declared(case.image())
    check_model(model, image)
    found = model(image)
    assert all(isinstance(b, Box) for b in found)
    for row in case.boxes:
        wanted = image.grid.to_world((row[:3] + row[3:6]) / 2 - 0.5)
        named = [b for b in found if b.concept == model.card.classes[int(row[6])].code]
        near = [np.linalg.norm(image.grid.to_world((np.array(b.lower) + b.upper) / 2) - wanted)
                for b in named]  # fmt: skip
        assert min(near) < 3.0


def test_the_same_objects_however_the_volume_lies(trained):
    model = load(trained[0] / "model")
    image = model.card.declared(trained[1].cases[1].image())
    turned = replace(
        image, data=np.ascontiguousarray(image.data.transpose(2, 0, 1)[:, ::-1]),
        grid=_turned(image.grid),
    )  # fmt: skip
    one, two = (model(i) for i in (image, turned))
    assert len(one) == len(two) > 0
    for a, b in zip(one, two, strict=True):
        ends = [carried(np.array([[*x.lower, *(np.array(x.upper) + 1)]]), x.grid, image.grid)
                for x in (a, b)]  # fmt: skip
        assert np.allclose(*ends, atol=1e-3)
        assert a.confidence == pytest.approx(b.confidence, abs=1e-5)


def _turned(grid):
    """The grid of ``data.transpose(2, 0, 1)[:, ::-1]``."""
    affine = grid.affine.copy()
    affine[:, :3] = affine[:, [2, 0, 1]]
    nz, ny, nx = grid.shape
    return Grid((nx, nz, ny), affine).moved(
        start=(0, nz - 1, 0), shape=(nx, nz, ny), step=(1, -1, 1)
    )


def test_predict_writes_what_a_data_set_reads(trained, tmp_path):
    root, data, _, _ = trained
    path = root / "Task98" / "imagesTr" / "balls_000.nii.gz"
    run = CliRunner().invoke(
        app, ["predict", str(root / "model"), str(path), "-o", str(tmp_path / "out")]
    )
    assert run.exit_code == 0, run.output
    rows = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert set(rows[0]) == {"image", "category", "bbox", "score", "center_mm", "size_mm"}
    grid = data.cases[0].image().grid
    x, y, z, w, h, d = rows[0]["bbox"]
    middle = np.array([z + d / 2, y + h / 2, x + w / 2]) - 0.5
    assert np.allclose(grid.to_world(middle), rows[0]["center_mm"], atol=0.05)
    assert np.allclose(rows[0]["size_mm"], (w * 1.0, h * 1.0, d * 2.0), atol=0.05)
    kept = [r for r in rows if r["score"] > 0.3]
    record = {
        "images": [{"id": 1, "file_name": "balls_000.nii.gz"}],
        "categories": [{"id": i, "name": n} for i, n in enumerate(data.classes)],
        "annotations": [{**r, "image_id": 1, "category_id": data.classes.index(r["category"])}
                        for r in kept],
    }  # fmt: skip
    (path.parent / "again.json").write_text(json.dumps(record))
    again = open_dataset(path.parent / "again.json", "detect").cases[0].boxes
    (path.parent / "again.json").unlink()
    assert len(again) == len(kept)
    assert np.allclose(again[0, 3:6] - again[0, :3], (d, h, w))


def test_evaluation_of_objects(trained, tmp_path):
    root, data, _, _ = trained
    result = evaluate(load(root / "model"), data, draws=10)
    names = {m.name for m in result.metrics}
    assert {"map50", "map10", "ap10 bright", "cpm dark", "sensitivity", "false_per_case",
            "score_ece"} <= names  # fmt: skip
    assert result.value("map10") >= result.value("map50") > 0.4
    assert result.value("cpm bright") > 0.6
    assert result.value("sensitivity") > 0.6
    report = tmp_path / "r.html"
    run = CliRunner().invoke(
        app, ["evaluate", str(root / "model"), str(root / "Task98"), "-o", str(report)]
    )
    assert run.exit_code == 0, run.output
    assert report.read_text().count("data:image/png") == 9


def test_boxes_of_reports_in_an_archive_are_objects(tmp_path, trained):
    """From detector to report to archive, which counts only once a reader says the same."""
    root, data, _, _ = trained
    model = load(root / "model")
    truths = {}
    with Archive.open(tmp_path / "archive") as archive:
        for i, said_by in enumerate(("reader", "models.detect")):
            case = data.cases[i]
            facts = {"PatientID": f"P{i}", "StudyInstanceUID": f"1.2.3.{i + 1}"}
            image = replace(
                case.image(), modality="MR", data=np.rint(case.image().data).astype(np.int16),
                attributes=facts,
            )  # fmt: skip
            parts = instances(image)
            for part in parts:
                archive.store(part)
            heads = [pydicom.dcmread(io.BytesIO(p)) for p in parts]
            on = tuple(str(h.SOPInstanceUID) for h in heads)
            found = [replace(b, on=on, provenance=Provenance((), (Step(said_by, {}),)))
                     for b in model(image)]  # fmt: skip
            assert found
            for part in sr.instances(found, attributes=facts):
                archive.store(part)
            truths[f"P{i}"] = (image, found)
    again = open_dataset(tmp_path / "archive", "detect")
    assert (again.task, again.modality) == ("detect", "MR")
    (one,) = again.cases
    image, found = truths[one.patient]
    assert one.patient == "P0"
    grid = one.image().grid
    assert len(one.boxes) == len(found)
    for row, box in zip(one.boxes, found, strict=True):
        assert again.classes[int(row[6])] == box.concept.meaning
        wanted = image.grid.to_world((np.array(box.lower) + box.upper) / 2)
        assert np.allclose(grid.to_world((row[:3] + row[3:6]) / 2 - 0.5), wanted, atol=1e-2)


def test_suppression_keeps_the_surest_of_each_class():
    near, far = [0, 0, 0, 4, 4, 4.0], [9, 9, 9, 12, 12, 12.0]
    corners = np.array([near, [0, 0, 1, 4, 4, 5.0], near, far])
    kept = suppressed(corners, np.array([0.5, 0.9, 0.4, 0.3]), np.array([0, 0, 1, 0]), most=0.3)
    assert kept.tolist() == [1, 2, 3]
