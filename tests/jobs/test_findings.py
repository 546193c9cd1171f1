"""Operations that find something: their findings are stored, shown, replayed and found again."""

import json
from dataclasses import replace
from typing import Annotated

import numpy as np
import pytest
from pydicom import dcmread
from typer.testing import CliRunner

import somascope.io as sio
from somascope.cli.app import app
from somascope.core import Box, Code, Image, Label, Measurement, Param, operation, registry
from somascope.core.errors import ReadError
from somascope.jobs import replay as replaying
from somascope.jobs import run
from somascope.jobs.replay import replay
from somascope.jobs.run import bundled, execute, run_files
from somascope.testing import check_operation

MEAN = Code("373098007", "SCT", "Mean")
BRIGHT = Code("49755003", "SCT", "Morphologically Abnormal Structure")


@operation("test.look")
def look(
    image: Image, *, level: Annotated[float, Param("Bright from here", unit="[hnsf'U]")] = 300.0
) -> tuple[Image, Measurement, Box, Label]:
    """Tell the mean and where the image is bright, and show where."""
    bright = image.data > level
    places = np.argwhere(bright)
    on = image.provenance.sources[0].uids
    mean = Measurement(
        concept=MEAN, value=float(image.data.mean()), unit=image.unit,
        uncertainty=float(image.data.std()), on=on, provenance=image.provenance,
    )  # fmt: skip
    lower, upper = (tuple(map(float, f(axis=0))) for f in (places.min, places.max))
    box = Box(concept=BRIGHT, confidence=0.75, grid=image.grid, lower=lower, upper=upper, on=on,
              provenance=image.provenance)  # fmt: skip
    label = Label(concept=BRIGHT, confidence=0.5, on=on, probabilities={"bright": 0.5},
                  provenance=image.provenance)  # fmt: skip
    shown = replace(image, data=bright.astype(np.int16), unit="1")
    return shown, mean, box, label


@operation("test.halve")
def halve(number: Measurement) -> Measurement:
    """Halve a number."""
    return replace(number, value=number.value / 2)


@pytest.fixture(autouse=True)
def published(monkeypatch):
    """Both operations, as if they were installed."""

    def find(name, _known=run.get_operation):
        own = {"test.look": look, "test.halve": halve}
        return own[name].operation if name in own else _known(name)

    for module in (registry, run, replaying):
        monkeypatch.setattr(module, "get_operation", find)


def findings(archive, uid):
    return sio.read_all([i.path for i in archive.locate(series=uid)]).findings


def test_findings_of_a_run_are_one_report_in_the_same_study(archive, series):
    picture, report = execute(archive, "test.look", [series], {"level": 350.0})
    source, (stored,) = archive.locate(series=series), archive.locate(series=report)
    assert stored.study == source[0].study
    assert stored.sop_class == "1.2.840.10008.5.1.4.1.1.88.34"
    assert len(archive.locate(series=picture)) == len(source)
    (truth,) = sio.read_all([i.path for i in source]).images
    mean, box, label = findings(archive, report)
    assert (mean.value, mean.unit) == (float(truth.data.mean()), "[hnsf'U]")
    places = np.argwhere(truth.data > 350.0)
    assert (box.lower, box.upper) == (tuple(places.min(axis=0)), tuple(places.max(axis=0)))
    assert box.grid == truth.grid
    assert label.probabilities == {"bright": 0.5}
    assert mean.on == tuple(i.sop_uid for i in sorted(source, key=lambda i: i.number or 0))
    dataset = dcmread(stored.path)
    (study,) = dataset.CurrentRequestedProcedureEvidenceSequence
    assert study.ReferencedSeriesSequence[0].SeriesInstanceUID == series
    assert dataset.PatientID == dcmread(source[0].path).PatientID


def test_replay_of_a_report_is_identical(archive, series):
    _, report = execute(archive, "test.look", [series])
    found = replay(archive, report)
    assert found.identical
    assert found.same_bytes
    assert found.difference == 0.0


def test_replay_sees_another_number(archive, series, monkeypatch):
    _, report = execute(archive, "test.look", [series])
    again = replaying.compute

    def other(*args, **more):
        results = again(*args, **more)
        return [replace(r, value=r.value + 1) if isinstance(r, Measurement) else r for r in results]

    monkeypatch.setattr(replaying, "compute", other)
    found = replay(archive, report)
    assert not found.identical
    assert found.difference == pytest.approx(1.0)


def test_a_finding_is_an_input_too(archive, series):
    _, report = execute(archive, "test.look", [series])
    (half,) = execute(archive, "test.halve", [report])
    (made,) = findings(archive, half)
    assert made.value == findings(archive, report)[0].value / 2
    assert archive.locate(series=half)[0].study == archive.locate(series=series)[0].study
    with pytest.raises(ReadError, match="holds no Measurement"):
        execute(archive, "test.halve", [series])
    with pytest.raises(ReadError, match="no Image, but 3 Measurement"):
        execute(archive, "test.look", [report])


def test_files_in_files_out(archive, series, tmp_path):
    paths = [i.path for i in archive.locate(series=series)]
    (image,) = sio.read_all(paths).images
    sio.write(image, tmp_path / "in.nrrd")
    written = run_files("test.look", [tmp_path / "in.nrrd"], tmp_path / "out")
    assert [p.name for p in written] == ["1", "2"]
    assert len(sio.read_findings(written[1])) == 3


def test_the_command_line_prints_findings(archive, series):
    runner = CliRunner()
    call = ["run", "test.look", series, "--archive", str(archive.root), "--json"]
    result = runner.invoke(app, call)
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout.splitlines()[-1])
    assert [f["kind"] for f in said["findings"]] == ["measurement", "box", "label"]
    assert said["findings"][0]["unit"] == "[hnsf'U]"


def test_the_contract_holds_for_findings():
    check_operation(look.operation, params={"level": 300.0})
    number = Measurement(concept=MEAN, value=3.0, unit="mm")
    check_operation(halve.operation, inputs=(number,))


def test_bundles_keep_the_order():
    image = _small()
    mean = Measurement(concept=MEAN, value=1.0, unit="1")
    assert bundled([mean, image, mean, image]) == [[mean, mean], image, image]


def _small():
    from somascope.core import Grid

    return Image(np.ones((2, 3, 4), np.int16), Grid.from_spacing((2, 3, 4), (1, 1, 1)), "CT")
