"""Every shipped model: small, complete, refusing, and as good as its card says where data is."""

import numpy as np
import pytest

from somascope.core import Grid, Image, Provenance, Source
from somascope.core.errors import Refused
from somascope.models import installed, load, operations, package
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


def radiograph(modality="DX", *, size=64):
    y, x = np.mgrid[:size, :size] / size - 0.5
    values = 90 + 80 * np.exp(-8 * x**2) + 20 * y
    grid = Grid.from_spacing((1, size, size), (1, 1, 1))
    return Image(values[None].astype(np.uint8), grid, modality,
                 provenance=Provenance((Source("dicom", "1.2.3"),)))  # fmt: skip


def test_pneumonia_is_an_operation_and_refuses_what_it_does_not_know():
    check_operation("classify.pneumonia", inputs=(radiograph(),))
    with pytest.raises(Refused, match="this image is US"):
        operations.classify(radiograph("US"), model="classify.pneumonia")


def test_a_radiograph_becomes_a_report(tmp_path):
    from somascope.io import read_findings, write
    from somascope.jobs.run import run_files

    write(radiograph(size=96), tmp_path / "dx")
    run_files("classify.pneumonia", [tmp_path / "dx"], tmp_path / "report.dcm")
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
