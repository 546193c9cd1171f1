"""What a follow-up cannot know it does not say: faint, merged, cut off, unseen, without a scale."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from somascope.analyze.longitudinal import followed
from somascope.analyze.longitudinal.follow_up import follow_up, segments
from somascope.analyze.longitudinal.lesions import lesions
from somascope.analyze.longitudinal.metabolism import uptake
from somascope.analyze.longitudinal.reporting import findings
from somascope.analyze.register.verdict import Registered
from somascope.core import Grid, Image, Label, Mask, Measurement, Segment, Tracking
from somascope.core.errors import ParameterError

GRID = Grid.from_spacing((24, 60, 60), (2.0, 1.0, 1.0))
STILL = Registered(matrix=np.eye(4), fixed_frame="", moving_frame="")
NAMES = ("LESION_", "NONTARGET_", "CANNOT_SAY", "RECIST_")


def ball(z, y, x, r):
    a, b, c = np.indices(GRID.shape)
    return (2 * (a - z)) ** 2 + (b - y) ** 2 + (c - x) ** 2 <= r * r


def image(*bodies, unit="[hnsf'U]", modality="CT", seed=0, **facts):
    """Bodies ``(inside, value)`` over nothing, with noise of 10."""
    data = np.random.default_rng(seed).normal(scale=10.0, size=GRID.shape)
    for inside, value in bodies:
        data[inside] += value
    return Image(data.astype(np.float32), GRID, modality, unit, attributes=facts)


def mask(*bodies, names=None):
    names = names or [f"L{n + 1}" for n in range(len(bodies))]
    named = tuple(
        Segment(n + 1, name, tracking=Tracking(f"2.25.{n + 1}", name))
        for n, name in enumerate(names)
    )
    return Mask(data=np.stack(bodies), grid=GRID, segments=named)


def told(result, *, drawn=False):
    """The concepts of lesions and of the response, all labels and all measurements."""
    listed = findings(result, drawn=drawn)
    labels = [f for f in listed if isinstance(f, Label)]
    values = [f.concept.value for f in labels if f.concept.value.startswith(NAMES)]
    return values, labels, [f for f in listed if isinstance(f, Measurement)]


A, B = ball(8, 18, 18, 7), ball(14, 40, 40, 7)


def test_a_lesion_too_faint_to_outline_has_no_change_and_no_sum():
    before, after = image((A, 200), (B, 15)), image((A, 200), (B, 15), seed=1)
    result = followed(after, before, mask(A, B), warp=STILL)
    assert [one.faint for one in result.after] == [False, True]
    how = [one.segment.algorithm for one in result.after]
    assert how == ["analyze.follow_up half contrast", "analyze.follow_up carried over"]
    assert set(result.changes) == {0}
    assert (result.sums.now, result.sums.remaining) == (None, None)
    values, labels, numbers = told(result)
    assert values == ["LESION_STABLE", "LESION_FAINT", "NONTARGET_NONE", "CANNOT_SAY"]
    assert "could not be outlined" in labels[1].text
    of = result.before[1].tracking
    assert {f.time_point for f in numbers if f.tracking == of} == {"prior examination"}
    sums = {(f.concept.value, f.time_point) for f in numbers}
    assert ("VOLUME_SUM", "this examination") not in sums


def test_that_nothing_is_new_only_a_drawn_mask_says():
    before, after = image((A, 200)), image((A, 200), seed=1)
    for found in (None, mask(A)):
        result = followed(after, before, mask(A), *([found] if found else []), warp=STILL)
        assert result.candidates == ()
        values, labels, numbers = told(result, drawn=found is not None)
        counts = [f.value for f in numbers if f.concept.value == "NEW_LESIONS"]
        assert counts == ([0.0] if found else [])
        assert values[-1] == ("RECIST_SD" if found else "CANNOT_SAY")
        assert ("number of new lesions is missing" in labels[-1].text) is (found is None)


def test_growth_of_what_is_no_target_is_left_to_a_reader():
    small, larger = ball(14, 40, 40, 4.5), ball(14, 40, 40, 9)
    before, after = image((A, 200), (small, 200)), image((A, 200), (larger, 200), seed=1)
    result = followed(after, before, mask(A, small), mask(A, larger), warp=STILL)
    assert result.sums.targets == (0,)
    assert result.sums.others == "grown"
    values, labels, _ = told(result, drawn=True)
    assert values[-2:] == ["NONTARGET_LARGER", "CANNOT_SAY"]
    assert "unequivocal progression" in labels[-1].text


def test_lesions_that_have_become_one_are_counted_once():
    one, two = ball(10, 30, 24, 3), ball(10, 30, 31, 3)
    whole = one | two
    for x in range(25, 31):
        whole |= ball(10, 30, x, 3)
    before, after = image((one, 200), (two, 200)), image((whole, 200), seed=1)
    result = followed(after, before, mask(one, two), warp=STILL)
    (body,) = result.after
    assert body.region.inside.shape == (3, 7, 14)
    assert body.size.volume == pytest.approx(2.0 * whole.sum(), rel=0.05)
    assert (len(result.matched.pairs), list(result.matched.merged.values())) == (1, [0])
    values, labels, numbers = told(result)
    assert "LESION_MERGED" in values
    assert any("its outline is that of" in f.text for f in labels)
    burden = [f.value for f in numbers if f.concept.value == "VOLUME_SUM"]
    assert burden[1] == pytest.approx(body.size.volume)


def test_an_outline_that_was_cut_off_says_so_in_the_report():
    vessel = np.zeros(GRID.shape, bool)
    vessel[6:10, 16:21, 18:58] = True
    before, after = image((A, 200), (B, 200)), image((A | vessel, 200), (B, 200), seed=1)
    result = followed(after, before, mask(A, B), warp=STILL)
    texts = [f.text for f in told(result)[1] if f.tracking]
    assert ["was cut off: look at its outline" in t for t in texts] == [True, False]


@pytest.mark.parametrize("unit", ["1", "{counts}"])
def test_without_an_absolute_scale_lesions_have_to_be_drawn(unit):
    before = image((A, 200), unit=unit, modality="MR")
    after = image((A, 700), unit=unit, modality="MR", seed=1)
    with pytest.raises(ParameterError, match=r"no absolute scale.*Draw the lesions"):
        followed(after, before, mask(A), warp=STILL)
    result = followed(after, before, mask(A), mask(A), warp=STILL)
    assert (result.z, result.candidates) == (None, ())
    assert result.changes[0].course == "stable"
    results = follow_up(after, before, mask(A), mask(A), preset="rigid", accept=True)
    assert not any(isinstance(r, Image) for r in results)
    assert isinstance(results[0], Mask)


def test_percist_is_told_nothing_of_now_when_a_lesion_is_not_whole():
    facts = {"PatientWeight": 75.0, "PatientSize": 1.75, "PatientSex": "M", "Units": "GML"}
    before, after = (
        image((A, 800), (B, 400), unit="g/ml", modality="PT", seed=s, **facts) for s in (0, 1)
    )
    whole = followed(after, before, mask(A, B), mask(A, B), warp=STILL)
    kinds = ["SUL_PEAK", "TLG_CHANGE"]
    now = [c.value for c, _, _, time in uptake(whole) if time == "now"]
    assert set(kinds) <= set(now)
    faint = (whole.after[0], replace(whole.after[1], faint=True))
    cut = (whole.after[0], replace(whole.after[1], cut=True))
    for one in (
        replace(whole, matched=replace(whole.matched, unseen=(1,))),
        replace(whole, after=faint),
        replace(whole, after=cut),
    ):
        given = [(c.value, time) for c, _, _, time in uptake(one)]
        assert [c for c, _ in given if c in kinds] == []
        assert {t for c, t in given if c != "SUL_PEAK_PRIOR"} == {"then"}
        assert ("SUL_PEAK_PRIOR", "now") in given
    # Cut off before and whole now: the peak of now is known, the change of all uptake is not.
    given = [c.value for c, _, _, _ in uptake(replace(whole, before=cut))]
    assert ("SUL_PEAK" in given, "TLG_CHANGE" in given) == (True, False)


def test_bodies_that_overlap_stay_whole_in_the_mask():
    other = ball(8, 18, 22, 7)
    before, after = image((A | other, 200)), image((A | other, 200), seed=1)
    result = followed(after, before, mask(A, other), mask(A, other), warp=STILL)
    made = segments(result)
    assert made is not None
    assert [int(made.plane(n).sum()) for n in (1, 2)] == [int(A.sum()), int(other.sum())]
    apart = segments(followed(after, before, mask(A, B), mask(A, B), warp=STILL))
    assert apart is not None
    assert apart.data.dtype == np.uint8
    assert np.array_equal(apart.data, A + 2 * B.astype(np.uint8))
    assert len(lesions(apart)) == 2


def test_many_lesions_take_no_volume_each():
    many = [ball(z, y, x, 4.5) for z in (5, 17) for y in (12, 30, 48) for x in (12, 30, 48)]
    lit = [(inside, 200) for inside in many]
    before, after = image(*lit), image(*lit, seed=1)
    result = followed(after, before, mask(*many), warp=STILL)
    boxes = [one.region.inside.size for one in result.outlines if one.region is not None]
    assert len(boxes) == len(many)
    assert sum(boxes) < GRID.shape[0] * GRID.shape[1] * GRID.shape[2]
    tracemalloc.start()
    try:
        made = segments(result)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert made is not None
    # The array of numbers itself, one copy of it, and what is small beside it.
    assert peak < 4 * made.data.nbytes
    assert len(made.segments) == len(many)
