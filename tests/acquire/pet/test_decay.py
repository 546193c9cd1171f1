"""Decay within and between frames by integration, frame times through DICOM, dead time."""

from io import BytesIO

import numpy as np
import pytest
from pydicom import dcmread

from somascope.acquire.pet import decay
from somascope.core import Axis, Grid, Image
from somascope.core.errors import ParameterError
from somascope.io.dicom.series import volumes
from somascope.io.dicom.write import instances

F18 = decay.NUCLIDES["F-18"].half_life


@pytest.mark.parametrize(
    ("start", "duration"), [(0, 0), (0, 60), (600, 1e-6), (-30, 300), (3600, 9000)]
)
def test_factor_is_activity_over_its_mean_in_the_frame(start, duration):
    rate = np.log(2) / F18
    t = start + duration * (np.arange(20000) + 0.5) / 20000
    assert decay.factor(F18, start=start, duration=duration) == pytest.approx(
        1 / np.exp(-rate * t).mean(), rel=1e-8
    )


def test_nuclides_by_any_name_and_code():
    for name in ("F-18", "F18", "18F", "^18^Fluorine"[:4] + "F"):
        assert decay.nuclide(name).half_life == pytest.approx(6586, rel=1e-3)
    item = {"RadionuclideCodeSequence": [{"CodeValue": "35337001", "CodeMeaning": "x"}]}
    facts = {"RadiopharmaceuticalInformationSequence": [item]}
    assert decay.nuclide_of(facts).name == "Ga-68"
    with pytest.raises(ParameterError, match="Tc-99"):
        decay.nuclide("Tc-99")


def test_codes_are_the_standards():
    from pydicom.sr._concepts_dict import concepts

    known = {
        value: meaning
        for entries in concepts["SCT"].values()
        for value, (meaning, _) in entries.items()
    }
    for one in decay.NUCLIDES.values():
        assert known[one.code].replace("^", "") == one.meaning.replace("^", ""), one.name


def dynamic(start, duration, **more):
    start, duration = np.asarray(start, float), np.asarray(duration, float)
    frames = decay.Frames(start, duration)
    data = np.random.default_rng(1).uniform(0, 1e4, (len(start), 2, 5, 4)).astype(np.float32)
    facts = {
        "PatientName": "Test^Dynamic", "PatientID": "D1", "SeriesDate": "20260102",
        "SeriesTime": "235800", "AcquisitionDate": "20260102", "AcquisitionTime": "235800",
        "ActualFrameDuration": [round(1000 * d) for d in duration], "DecayCorrection": "START",
        "CorrectedImage": ["DECY", "ATTN"],
        "DecayFactor": [
            round(decay.factor(F18, start=s, duration=d), 6)
            for s, d in zip(start, duration, strict=True)
        ],
        "RadiopharmaceuticalInformationSequence": [
            {"RadionuclideHalfLife": F18, "RadionuclideTotalDose": 3e8}
        ],
    }  # fmt: skip
    return Image(
        data, Grid.from_spacing((2, 5, 4), (3, 2, 2)), "PT", "Bq/ml",
        axes=(Axis("t", frames.reference(F18), "s"),), attributes=facts | more,
    )  # fmt: skip


STARTS, DURATIONS = (0, 10, 20, 50, 110, 170, 470), (10, 10, 30, 60, 60, 300, 600)


def test_frames_of_a_dynamic_image():
    found = decay.frames(dynamic(STARTS, DURATIONS))
    np.testing.assert_allclose(found.start, STARTS, atol=1e-9)
    np.testing.assert_allclose(found.duration, DURATIONS)
    assert (found.reference(F18) < found.middle).all()
    assert found.end[-1] == pytest.approx(1070)


def test_frames_through_dicom():
    image = dynamic(STARTS, DURATIONS)
    files = instances(image)
    heads = [dcmread(BytesIO(f), stop_before_pixels=True) for f in files]
    assert [int(h.ActualFrameDuration) for h in heads[::2]] == [1000 * d for d in DURATIONS]
    assert heads[0].NumberOfTimeSlices == 7
    assert list(heads[0].SeriesType) == ["DYNAMIC", "IMAGE"]
    assert str(heads[-1].AcquisitionDate) == "20260103"  # 470 s after two minutes to midnight
    assert str(heads[-1].AcquisitionTime).startswith("000550")
    assert [h.ImageIndex for h in heads] == list(range(1, 15))
    assert float(heads[-1].DecayFactor) == pytest.approx(image.attributes["DecayFactor"][-1])
    (back,), problems = volumes(files)
    assert not problems
    np.testing.assert_allclose(back.axes[0].values, image.axes[0].values, atol=1e-3)
    for word in ("ActualFrameDuration", "DecayFactor", "AcquisitionDate", "SeriesTime"):
        assert back.attributes[word] == image.attributes[word], word
    np.testing.assert_allclose(decay.frames(back).start, STARTS, atol=2e-3)
    np.testing.assert_allclose(back.data, image.data, atol=0.2)


def test_frames_without_durations_follow_each_other():
    times = (5.0, 15.0, 35.0, 80.0)
    image = dynamic((0, 10, 20, 50), (10, 10, 30, 60), ActualFrameDuration=None)
    image = Image(image.data, image.grid, "PT", axes=(Axis("t", times, "s"),))
    found = decay.frames(image)
    np.testing.assert_allclose(found.start, (0, 10, 20, 50))
    np.testing.assert_allclose(found.duration, (10, 10, 30, 60))


@pytest.mark.parametrize(
    ("axes", "facts", "word"),
    [
        ((Axis("t"),), {}, "times in s"),
        ((Axis("t", (1, 2, 2), "s"),), {}, "do not rise"),
        ((Axis("echo", (1, 2, 3), "ms"),), {}, "has an axis t"),
        ((Axis("t", (1, 2, 3), "s"),), {"ActualFrameDuration": [1000, 1000]}, "does not fit"),
        ((Axis("t", (1, 2, 3), "s"),), {"ActualFrameDuration": 60000}, "overlap"),
        ((Axis("t", (1, 2, 3), "mm"),), {}, "'mm'"),
    ],
)
def test_frames_that_are_none(axes, facts, word):
    image = Image(np.zeros((3, 1, 2, 2), np.float32), Grid.from_spacing((1, 2, 2), (1, 1, 1)),
                  "PT", axes=axes, attributes=facts)  # fmt: skip
    with pytest.raises(ParameterError, match=word):
        decay.frames(image)


@pytest.mark.parametrize("model", ["non-paralysable", "paralysable"])
def test_dead_time_there_and_back(model):
    true = np.array([0.0, 1e3, 1e5, 6e5])
    seen = decay.observed_rate(true, 1e-6, model=model)
    assert (seen[1:] < true[1:]).all()
    np.testing.assert_allclose(decay.true_rate(seen, 1e-6, model=model), true, rtol=1e-9)
    np.testing.assert_allclose(
        seen[1:] / true[1:], decay.live_fraction(true[1:], 1e-6, model=model)
    )
    with pytest.raises(ParameterError, match="impossible"):
        decay.true_rate(2e6, 1e-6, model=model)


def test_dead_time_as_counted_event_by_event():
    """Random events of which the detector loses those within the dead time of an earlier one."""
    rng = np.random.default_rng(3)
    true, dead, seconds = 2e5, 2e-6, 1.0
    times = np.sort(rng.uniform(0, seconds, rng.poisson(true * seconds)))
    paralysable = 1 + int((np.diff(times) > dead).sum())
    counted, free = 0, -1.0
    for t in times:
        if t >= free:
            counted, free = counted + 1, t + dead
    for model, seen in (("paralysable", paralysable), ("non-paralysable", counted)):
        assert float(decay.observed_rate(true, dead, model=model)) == pytest.approx(seen, rel=0.01)
