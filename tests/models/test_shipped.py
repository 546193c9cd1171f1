"""Every shipped model: small, complete, an operation, and as good as its card says."""

import runpy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from somascope.core import (
    Axis,
    Grid,
    Image,
    Label,
    Mask,
    Provenance,
    Source,
    Warp,
)
from somascope.core.errors import Refused
from somascope.core.registry import get_operation
from somascope.models import buttons, installed, load, operations, package
from somascope.testing import check_operation

SHIPPED = sorted(installed.shipped().glob("*.zip"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
def test_shipped_models_are_complete(path):
    packed = package.read(path)
    card = packed.card
    assert path.stat().st_size < 10_000_000
    assert card.name == path.stem
    assert card.licence
    assert card.training_data
    assert card.limits
    assert card.metrics
    assert all(m.low <= m.high for m in card.metrics)
    assert card.familiar is not None


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
def test_noise_is_refused_by_every_shipped_model(path):
    card = package.read(path).card
    image = phantom(card)
    noise = np.random.default_rng(3).integers(0, 255, image.shape).astype(np.uint8)
    with pytest.raises(Refused, match=f"{card.name}: the image is unlike"):
        card.check(replace(image, data=noise))


def phantom(card, *, seed=0):
    """Soft blobs of the kind that the card names: nothing to be found, but something to look at."""
    rng = np.random.default_rng(seed)
    shape = (30, 44, 30) if card.dimensions == 3 else (1, 96, 128)
    values = gaussian_filter(rng.normal(size=(card.channels, *shape)), (0, 2, 2, 2), mode="wrap")
    values = 120 + 60 * np.clip(values / values.std(), -2, 2)
    if card.preparation.high <= 1 and card.preparation.scaling == "range":
        values = values > 120  # a shape
    axes = (Axis("channel"),) if card.channels == 3 else ()
    grid = Grid.from_spacing(shape, (1.0, 1.0, 1.0))
    data = values.astype(np.uint8) if axes else values[0].astype(np.uint8)
    kind = card.modalities[0] if card.modalities else "OT"
    return Image(data, grid, kind, axes=axes, provenance=Provenance((Source("dicom", "1.2.3"),)))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
def test_every_shipped_model_is_an_operation(path):
    card = package.read(path).card
    images = (phantom(card), phantom(card, seed=1))[: 2 if card.task == "register" else 1]
    name = card.name.replace("-", "_")
    check_operation(name, inputs=images, params={"anyway": True})
    found = get_operation(name)(*images, anyway=True)
    kinds = {"classify": Label, "segment": Mask, "detect": list, "register": Warp}
    assert isinstance(found, kinds[card.task])


def test_the_page_says_what_the_cards_say():
    path = Path(__file__).resolve().parents[2] / "docs" / "build_models.py"
    built = runpy.run_path(str(path))
    text = built["PAGE"].read_text(encoding="utf-8")
    assert built["page"](text) == text, "run python docs/build_models.py"
    assert all(f"`{p.stem}`" in text for p in SHIPPED)


def test_every_operation_of_a_shipped_model_has_its_model():
    names = {p.stem.replace("-", "_") for p in SHIPPED}
    made = {o.operation.name for o in vars(buttons).values() if hasattr(o, "operation")}
    assert made == names


def radiograph(modality="DX", *, size=64):
    y, x = np.mgrid[:size, :size] / size - 0.5
    values = 90 + 80 * np.exp(-8 * x**2) + 20 * y
    grid = Grid.from_spacing((1, size, size), (1, 1, 1))
    return Image(values[None].astype(np.uint8), grid, modality,
                 provenance=Provenance((Source("dicom", "1.2.3"),)))  # fmt: skip


def test_pneumonia_is_an_operation_and_refuses_what_it_does_not_know():
    check_operation("classify.pneumonia", inputs=(radiograph(),), params={"anyway": True})
    with pytest.raises(Refused, match="this image is US"):
        operations.classify(radiograph("US"), model="classify.pneumonia")


def test_a_radiograph_becomes_a_report(tmp_path):
    from somascope.io import read_findings, write
    from somascope.jobs.run import run_files

    write(radiograph(size=96), tmp_path / "dx")
    target = tmp_path / "report.dcm"
    run_files("classify.pneumonia", [tmp_path / "dx"], target, {"anyway": True})
    (label,) = read_findings(tmp_path / "report.dcm")
    assert label.concept.value in ("233604007", "17621005")
    assert 0.5 <= label.confidence <= 1


@pytest.mark.data
def test_pneumonia_is_as_good_as_its_card_says(data):
    from somascope.learn.datasets import open_dataset
    from somascope.learn.evaluate import evaluate

    path = data / "split_npz" / "pneumoniamnist_28_trainval.npz"
    if not path.is_file():
        pytest.skip(f"{path.name} is not in the development data")
    model = load(installed.shipped() / "classify.pneumonia.zip", kind="onnxruntime", threads=1)
    judged = evaluate(model, open_dataset(path, "classify"), split="val", draws=20)
    said = {m.name: m.value for m in model.card.metrics}
    assert judged.value("auc") == pytest.approx(said["auc"], abs=1e-3)
    assert judged.value("auc") > 0.96
    assert judged.value("accuracy") > 0.88
    assert judged.value("ece") < 0.05
    assert abs(judged.value("conformal_coverage") - 0.95) < 0.02
