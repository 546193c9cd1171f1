"""Follow-up of simulated lesions under a known deformation, from images to reports and back."""

from dataclasses import replace

import numpy as np
import pytest

import somascope.io as sio
from somascope.analyze.longitudinal import followed
from somascope.analyze.longitudinal.follow_up import follow_up, segments
from somascope.analyze.longitudinal.reporting import findings
from somascope.analyze.longitudinal.trend import SHOWN, picture, table, trend, trends
from somascope.analyze.register.verdict import Registered, Verdict
from somascope.core import Image, Label, Mask, Measurement, Warp
from somascope.core.errors import GeometryError, ParameterError, Refused, UnitError
from somascope.jobs.run import bundled, encode
from somascope.phantoms import Motion, thorax_follow_up, thorax_grid
from somascope.testing import check_operation

GRID = thorax_grid((80, 100, 136), (2.5, 2.1, 2.1))
GROWTH = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)


@pytest.fixture(scope="module")
def made():
    return thorax_follow_up(GRID, growth=GROWTH, new=2, radius=12.5, seed=3)


@pytest.fixture(scope="module")
def result(made):
    return followed(made.current, made.prior, made.prior_lesions, made.current_lesions)


def test_every_lesion_is_matched_and_its_change_is_told(made, result):
    assert result.warp.verdict.trusted
    assert [(i, j) for i, j, _ in result.matched.pairs] == [(i, i) for i in range(6)]
    assert result.matched.new == (6, 7)
    assert result.matched.resolved == ()
    for i, growth in enumerate(GROWTH):
        told = result.changes[i]
        assert abs(told.volume - 100 * growth) < 5, (i, told)
        assert abs(told.volume - 100 * growth) < 2 * told.volume_spread
    assert result.candidates == ()  # what is drawn is explained, and nothing else is new


def test_nothing_is_invented_where_nothing_grew():
    motion = Motion(seed=1, bend=7.0, turn=-4.0)
    made = thorax_follow_up(GRID, growth=(0.0,) * 6, radius=12.5, motion=motion, seed=1)
    result = followed(made.current, made.prior, made.prior_lesions, made.current_lesions)
    assert result.warp.verdict.trusted
    assert [(i, j) for i, j, _ in result.matched.pairs] == [(i, i) for i in range(6)]
    assert (result.matched.new, result.candidates) == ((), ())
    assert {c.course for c in result.changes.values()} == {"stable"}
    assert max(abs(c.volume) for c in result.changes.values()) < 5


def test_without_a_current_mask_lesions_are_outlined_and_new_ones_found(made, result):
    alone = followed(made.current, made.prior, made.prior_lesions, warp=result.warp)
    assert [(i, j) for i, j, _ in alone.matched.pairs] == [(i, i) for i in range(6)]
    grid = alone.z.grid
    places = np.array([grid.to_world(np.argwhere(c.inside).mean(axis=0)) for c in alone.candidates])
    truth = np.array([b.centre for b in made.born])
    assert len(places) == 2
    apart = np.linalg.norm(places[:, None] - truth[None], axis=-1)
    assert apart.min(axis=0).max() < 3
    assert any(not one.note for one in alone.outlines)
    for i, told in alone.changes.items():
        if not alone.outlines[i].note:
            assert abs(told.volume - 100 * GROWTH[i]) < 8, (i, told)
    listed = findings(alone, drawn=False)
    answer = [f for f in listed if isinstance(f, Label) and "RECIST" in f.text]
    assert answer[0].concept.value == "CANNOT_SAY"
    assert "number of new lesions is missing" in answer[0].text


def test_the_report_says_it_and_comes_back(made, result, tmp_path):
    listed = findings(result, drawn=True)
    courses = [f.concept.value for f in listed if isinstance(f, Label) and f.tracking]
    assert courses == ["LESION_STABLE"] * 2 + ["LESION_GROWN"] * 4 + ["LESION_NEW"] * 2
    volumes = [f for f in listed if isinstance(f, Measurement) and f.concept.meaning == "Volume"]
    assert [v.time_point for v in volumes[:2]] == ["20250703", "20260102"]
    assert {v.tracking for v in volumes[:2]} == {result.before[0].tracking}
    answer = next(f for f in listed if isinstance(f, Label) and f.concept.value == "RECIST_PD")
    assert "number of new lesions is 2" in answer.text
    mask = segments(result)
    assert mask is not None
    assert [s.tracking for s in mask.segments[:6]] == [b.tracking for b in result.before]
    assert [s.label for s in mask.segments[6:]] == ["Lesion 7", "Lesion 8"]
    for k, series in enumerate(bundled([mask, *listed])):
        for file in encode(series):
            (tmp_path / f"{k}.dcm").write_bytes(file)
    back = sio.read_all(tmp_path)
    assert [f.tracking for f in back.findings] == [f.tracking for f in listed]
    assert back.findings[0].text == listed[0].text
    assert [s.tracking for s in back.masks[0].segments] == [s.tracking for s in mask.segments]
    assert np.array_equal(back.masks[0].data, mask.data)
    again = table(back.findings)
    assert again == table(listed)
    assert again[5]["course"] == "Lesion has grown"


def test_trends_put_reports_together(made, result):
    listed = findings(result, drawn=True)
    early = [
        replace(f, time_point="20240101", value=0.5 * f.value)
        for f in listed
        if isinstance(f, Measurement) and f.time_point == "20250703"
    ]
    found = trends([*early, *listed], SHOWN["volume"][0])
    assert [len(t.times) for t in found] == [3] * 6 + [1] * 2
    assert found[0].times == ("20240101", "20250703", "20260102")
    assert found[0].values[0] == pytest.approx(0.5 * found[0].values[1])
    # Another report has the same volumes in ml.
    milli = [
        replace(f, value=f.value / 1000, uncertainty=(f.uncertainty or 0.0) / 1000, unit="ml")
        if f.unit == "mm3"
        else f
        for f in early
    ]
    mixed = trends([*milli, *listed], SHOWN["volume"][0])
    assert mixed[0].values == pytest.approx(found[0].values)
    assert mixed[0].spreads == pytest.approx(found[0].spreads)
    (thousandth, *_) = trends(listed, SHOWN["volume"][0], unit="ml")
    assert thousandth.values[0] == pytest.approx(found[0].values[1] / 1000)
    with pytest.raises(UnitError, match="different things"):
        trends([replace(f, unit="mm") for f in early if f.unit == "mm3"], SHOWN["volume"][0])
    drawn = picture(found, "volume (mm3)")
    assert drawn.dtype == np.uint8
    assert (drawn != 255).any(axis=-1).mean() > 0.02
    shown = trend(*[f for f in listed if isinstance(f, Measurement)])
    assert shown.axis_names == ("channel", "z", "y", "x")
    with pytest.raises(ParameterError, match="nothing that could be drawn"):
        trend(listed[1], show="sum")


def small():
    """A body of 5 mm voxels whose registration is known and not searched."""
    grid = thorax_grid((36, 48, 60), (5.0, 5.0, 5.0))
    still = Motion(turn=0.0, shift=(0.0, 0.0, 0.0), bend=0.0)
    made = thorax_follow_up(grid, growth=(-1, 0.0), radius=14.0, motion=still)
    frames = made.current.grid.frame_of_reference, made.prior.grid.frame_of_reference
    warp = Registered(matrix=np.eye(4), fixed_frame=frames[0], moving_frame=frames[1])
    return made, warp


def test_what_is_gone_is_said_to_be_gone():
    made, warp = small()
    for found in (made.current_lesions, None):
        result = followed(made.current, made.prior, made.prior_lesions, found, warp=warp)
        assert result.matched.resolved == (0,)
        listed = findings(result, drawn=found is not None)
        assert listed[0].concept.value == "LESION_RESOLVED"
        assert result.sums.remaining == 1
        assert result.candidates == ()


def test_a_registration_that_failed_stops_it_or_is_said():
    made, warp = small()
    bad = replace(warp, verdict=Verdict(trusted=False, reasons=("the map folds",)))
    arguments = (made.current, made.prior, made.prior_lesions, made.current_lesions)
    with pytest.raises(Refused, match="the map folds"):
        followed(*arguments, warp=bad)
    listed = findings(followed(*arguments, warp=bad, accept=True), drawn=True)
    assert listed[0].concept.value == "REGISTRATION_BAD"
    assert all(f.confidence <= 0.1 for f in listed[1:] if isinstance(f, Label))


def test_wrong_use_is_refused_by_name():
    made, _ = small()
    lesions, current, prior = made.prior_lesions, made.current, made.prior
    with pytest.raises(ParameterError, match="days later"):
        followed(prior, current, made.current_lesions)
    other = replace(prior, attributes={**prior.attributes, "PatientID": "SOMEBODY"})
    with pytest.raises(Refused, match="two patients"):
        followed(current, other, lesions)
    with pytest.raises(ParameterError, match="modality"):
        followed(current, replace(prior, modality="MR"), lesions)
    with pytest.raises(ParameterError, match="unit"):
        followed(current, replace(prior, unit="1"), lesions)
    with pytest.raises(GeometryError, match="frame of reference"):
        followed(current, prior, made.current_lesions)
    empty = replace(lesions, data=np.zeros_like(lesions.data))
    with pytest.raises(ParameterError, match="no lesion is drawn"):
        followed(current, prior, empty)
    with pytest.raises(ParameterError, match="2 masks"):
        follow_up(current, prior, lesions, lesions, lesions)
    elsewhere = replace(lesions.grid, affine=lesions.grid.affine + np.eye(4)[:, ::-1] * 0)
    far = elsewhere.affine.copy()
    far[:3, 3] += 5000
    with pytest.raises(GeometryError, match="outside the prior image"):
        followed(current, prior, replace(lesions, grid=replace(elsewhere, affine=far)))


def test_uptake_is_judged_by_percist():
    made, warp = small()
    facts = {"PatientWeight": 75.0, "PatientSize": 1.75, "PatientSex": "M", "Units": "GML"}

    def pet(image: Image, mask: Mask, hot: float) -> Image:
        data = np.where(mask.data == len(mask.segments), hot, 1.0).astype(np.float32)
        data += np.random.default_rng(0).normal(scale=0.01, size=data.shape).astype(np.float32)
        return replace(image, data=data, modality="PT", unit="g/ml",
                       attributes={**image.attributes, **facts})  # fmt: skip

    before = pet(made.prior, made.prior_lesions, 8.0)
    after = pet(made.current, made.current_lesions, 12.0)
    result = followed(after, before, made.prior_lesions, made.current_lesions, warp=warp)
    listed = findings(result, drawn=True)
    peaks = {f.concept.value: f for f in listed if isinstance(f, Measurement)}
    lean = 9270 * 75 / (6680 + 216 * 75 / 1.75**2) / 75
    assert peaks["SUL_PEAK_PRIOR"].value == pytest.approx(8 * lean, rel=0.02)
    assert peaks["SUL_PEAK"].value == pytest.approx(12 * lean, rel=0.02)
    answer = next(f for f in listed if isinstance(f, Label) and "PERCIST" in f.text)
    assert answer.concept.value == "PERCIST_PMD"


def test_the_operations_keep_their_promises():
    grid = thorax_grid((28, 36, 44), (6.0, 7.0, 7.0))
    made = thorax_follow_up(grid, growth=(0.2, 0.0), radius=15.0, seed=2)
    inputs = (made.current, made.prior, made.prior_lesions, made.current_lesions)
    check_operation("analyze.follow_up", inputs=inputs, params={"preset": "rigid", "accept": True})
    results = follow_up(*inputs, preset="rigid", accept=True)
    assert [type(r) for r in results[:2]] == [Mask, Image]
    assert isinstance(results[2], Warp)
    measured = tuple(r for r in results if isinstance(r, Measurement))
    check_operation("analyze.trend", inputs=measured)
    for series in bundled(results):
        assert encode(series)
