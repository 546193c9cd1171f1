"""Exposure index against the dose that was given (IEC 62494-1)."""

from dataclasses import replace

import numpy as np
import pytest

from somascope.acquire.tube import tungsten
from somascope.acquire.xray.correct import correct
from somascope.acquire.xray.exposure import exposure_index
from somascope.acquire.xray.present import present
from somascope.acquire.xray.radiograph import radiograph
from somascope.acquire.xray.simulate import simulate
from somascope.core import Grid, Image
from somascope.core.errors import ParameterError, UnitError
from somascope.testing import check_operation
from tests.acquire.xray.conftest import SMALL


@pytest.mark.parametrize("mas", [1.0, 4.0])
def test_an_open_rqa5_beam_has_a_hundred_times_its_kerma(mas):
    grid = Grid.from_spacing((4, 4, 4), (30.0, 30.0, 30.0), origin=(-45, -45, -45))
    air = Image(np.full(grid.shape, -1000, np.int16), grid, "CT", "[hnsf'U]")
    raw = simulate(
        air, kvp=70.0, aluminium=23.5, copper=0.0, mas=mas, rows=96, columns=96, pitch=1.0, seed=1
    )
    kerma = tungsten(70, filters=[("aluminium", 23.5)]).kerma * mas / 1.8**2
    image = exposure_index(raw, target=200.0)
    assert image.attributes["ExposureIndex"] == pytest.approx(100 * kerma, rel=0.02)
    expected = 10 * np.log10(image.attributes["ExposureIndex"] / 200.0)
    assert image.attributes["DeviationIndex"] == pytest.approx(expected, abs=0.01)


def test_twice_the_dose_is_three_decibels_more(chest):
    one, two = (
        exposure_index(simulate(chest, mas=m, seed=2, **SMALL), target=300.0) for m in (1.0, 2.0)
    )
    ratio = two.attributes["ExposureIndex"] / one.attributes["ExposureIndex"]
    assert ratio == pytest.approx(2.0, rel=0.02)
    step = two.attributes["DeviationIndex"] - one.attributes["DeviationIndex"]
    assert step == pytest.approx(3.01, abs=0.1)


def test_open_beam_and_blades_do_not_count(chest):
    """With blades over the sides the index is that of the anatomy left between them."""
    narrow = simulate(chest, seed=3, blades=(60.0, 60.0, 60.0, 60.0), **SMALL)
    open_field = correct(simulate(chest, seed=3, **SMALL), logarithm=False).samples[0]
    between = open_field[28:-28, 28:-28]  # 60 mm at 2.2 mm
    index = exposure_index(narrow).attributes["ExposureIndex"]
    assert index == pytest.approx(100 * np.median(between) / 1000, rel=0.1)
    assert open_field.max() * 100 / 1000 > 10 * index  # the open beam would have said so
    assert 100 * np.median(correct(narrow, logarithm=False).samples[0]) / 1000 < 0.9 * index


def test_it_stays_on_the_presented_image_and_in_dicom(raw):
    from somascope.io.dicom.write import instances

    image = present(exposure_index(raw, target=250.0))
    assert present(raw).attributes["ExposureIndex"] == image.attributes["ExposureIndex"]
    pydicom = pytest.importorskip("pydicom")
    import io

    d = pydicom.dcmread(io.BytesIO(instances(image)[0]))
    assert float(d.ExposureIndex) == pytest.approx(image.attributes["ExposureIndex"])
    assert float(d.TargetExposureIndex) == 250.0
    assert float(d.DeviationIndex) == pytest.approx(image.attributes["DeviationIndex"])


def test_without_a_dose_there_is_no_index(raw):
    with pytest.raises(UnitError, match="logarithm off"):
        exposure_index(radiograph(raw))
    with pytest.raises(UnitError, match="logarithm off"):
        exposure_index(correct(raw))
    linear = radiograph(correct(raw, logarithm=False))
    facts = {k: v for k, v in linear.attributes.items() if k != "Sensitivity"}
    unknown = replace(linear, attributes=facts)
    with pytest.raises(ParameterError, match="Sensitivity"):
        exposure_index(unknown)
    given = exposure_index(unknown, sensitivity=1000.0).attributes["ExposureIndex"]
    assert given == exposure_index(linear).attributes["ExposureIndex"]
    with pytest.raises(ParameterError, match="no exposure"):
        exposure_index(linear.with_data(np.zeros_like(linear.data)))


def test_the_operation_keeps_its_contract(raw):
    check_operation(
        "acquire.xray.exposure_index", inputs=(radiograph(correct(raw, logarithm=False)),)
    )
