"""Motion put into frames is found and undone; frames through scan, reconstruction and series."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from somascope.acquire.pet import decay, motion
from somascope.acquire.pet.compartments import Rates, feng_input, frame_means, two_tissue
from somascope.acquire.pet.dynamic import dynamic, simulate_dynamic
from somascope.acquire.pet.osem import osem
from somascope.core import Axis, Grid, Image
from somascope.core.errors import GeometryError, ParameterError, UnitError
from somascope.phantoms.ellipsoid import Ellipsoid, draw
from somascope.testing import check_operation

GRID = Grid.from_spacing((20, 40, 40), (5.0, 5.0, 5.0), origin=(-97.5, -97.5, -47.5),
                         frame_of_reference="1.2.3.11")  # fmt: skip
HEAD = [
    Ellipsoid(1.0, (3, 5, 2), (60, 75, 40)), Ellipsoid(4.0, (20, 10, 5), (12, 20, 15)),
    Ellipsoid(3.0, (-25, -20, -8), (10, 15, 12)), Ellipsoid(0.2, (0, 30, 0), (10, 12, 10)),
]  # fmt: skip
TRUTH = np.array(
    [[0, 0, 0, 0, 0, 0], [2.0, -1.5, 1.0, 2.0, -1.0, 3.0], [-4.0, 3.0, 2.5, -3.0, 2.5, -6.0]], float
)


def head(moved_by=(0, 0, 0, 0, 0, 0)):
    """The head at a PET's resolution, where it has moved to; moved on a grid twice as fine."""
    fine = Grid.from_spacing((40, 80, 80), (2.5, 2.5, 2.5), origin=(-98.75, -98.75, -48.75))
    still = draw(HEAD, fine).astype(np.float32)
    there = motion.sampled(still, fine, np.linalg.inv(motion.matrix_of(moved_by, fine)))
    return gaussian_filter(there.reshape(20, 2, 40, 2, 40, 2).mean(axis=(1, 3, 5)), 1.0)


def dynamic_head(**more):
    data = np.stack([head(m) * s for m, s in zip(TRUTH, (1.0, 1.4, 0.7), strict=True)])
    return Image(data * 1000, GRID, "PT", "Bq/ml", axes=(Axis("t", (30, 90, 150), "s"),), **more)


def test_motion_is_found():
    image = dynamic_head()
    found = motion.motion_of(image, reference=0)
    np.testing.assert_allclose(found[:, :3], TRUTH[:, :3], atol=0.1)
    np.testing.assert_allclose(found[:, 3:], TRUTH[:, 3:], atol=0.15)


def test_motion_is_undone():
    image = dynamic_head()
    for made in (
        motion.motion(image, reference=0),
        motion.motion(image, reference=0, transforms=tuple(TRUTH.ravel())),
    ):
        inside = image.data[0] > 500
        for i, gain in ((1, 1.4), (2, 0.7)):
            before = np.abs(image.data[i] / gain - image.data[0])[inside].mean()
            after = np.abs(made.data[i] / gain - made.data[0])[inside].mean()
            assert after < 0.45 * before


def test_a_mu_map_goes_along():
    still = Image(head(), GRID, "CT", "/cm")
    made = motion.moved(still, TRUTH[2])
    error = np.abs(made.data - head(TRUTH[2])).mean()
    assert error < 0.2 * np.abs(still.data - head(TRUTH[2])).mean()


def test_empty_frames_move_with_the_next():
    image = dynamic_head()
    data = np.concatenate([image.data[:1] * 0, image.data])
    longer = replace(image, data=data, axes=(Axis("t", (1, 30, 90, 150), "s"),))
    found = motion.motion_of(longer, reference=2)
    np.testing.assert_array_equal(found[0], found[1])


def test_refusals():
    image = dynamic_head()
    with pytest.raises(ParameterError, match="18 finite"):
        motion.motion(image, transforms=(0.0,) * 12)
    with pytest.raises(ParameterError, match="reference frame 7"):
        motion.motion(image, reference=7)
    with pytest.raises(ParameterError, match="along t"):
        motion.motion(image.at(t=0))


def test_keeps_the_promises_of_an_operation():
    check_operation(motion.motion, inputs=(dynamic_head(),), params={"reference": 0})


DURATION = np.array([60.0, 120.0, 600.0, 1200.0])
WHEN = decay.Frames(np.concatenate([[0.0], np.cumsum(DURATION)[:-1]]), DURATION)
SMALL = Grid.from_spacing((5, 24, 24), (8.0, 6.0, 6.0), origin=(-69, -69, -16),
                          frame_of_reference="1.2.3.12")  # fmt: skip


def traced():
    """A disk of tissue in which a tracer with the half life of C-11 is taken up."""
    half = decay.NUCLIDES["C-11"].half_life
    minutes = np.arange(0, 34, 0.02)
    plasma = feng_input(minutes, scale=100.0)
    curve = frame_means(minutes, two_tissue(minutes, plasma, Rates(0.3, 0.2, 0.05)), WHEN)
    y, x = np.meshgrid(*(np.arange(24) * 6 - 69.0,) * 2, indexing="ij")
    disk = np.broadcast_to((x**2 + y**2 < 45**2).astype(np.float32), SMALL.shape)
    image = Image(
        (curve[:, None, None, None] * disk).astype(np.float32), SMALL, "PT", "Bq/ml",
        axes=(Axis("t", WHEN.reference(half), "s"),),
        attributes={
            "ActualFrameDuration": [1000 * d for d in DURATION.tolist()],
            "RadiopharmaceuticalInformationSequence": [{"RadionuclideHalfLife": half}],
            "SeriesDate": "20260102", "SeriesTime": "100000",
        },
    )  # fmt: skip
    return image, curve


def test_frames_are_scanned_and_stacked():
    """Between the first and the last frame C-11 loses two thirds; the images know nothing of it."""
    image, curve = traced()
    scans = simulate_dynamic(image, scanner="tiny", span=1, noise=False)
    assert len(scans) == 4
    decays = [float(s.calibration["decay"]) for s in scans]
    assert decays[3] < 0.55 * decays[0]
    frames = [osem(s, iterations=6, subsets=4) for s in scans]
    done = dynamic(frames[2], frames[0], frames[3], frames[1])
    np.testing.assert_allclose(done.axes[0].values, image.axes[0].values, rtol=1e-6)
    assert done.attributes["ActualFrameDuration"] == pytest.approx(list(1000 * DURATION))
    y, x = np.meshgrid(*(np.arange(24) * 6 - 69.0,) * 2, indexing="ij")
    inner = x**2 + y**2 < 30**2
    found = done.data[:, 1:4, inner].mean(axis=(1, 2))
    np.testing.assert_allclose(found, curve, rtol=0.03)
    np.testing.assert_allclose(decay.frames(done).start, WHEN.start, atol=1e-6)


def test_frames_that_do_not_fit():
    image, _ = traced()
    one = replace(image.at(t=0), attributes={"ActualFrameDuration": 1e3, "FrameReferenceTime": 500})
    with pytest.raises(ParameterError, match="one FrameReferenceTime"):
        dynamic(one, one)
    with pytest.raises(ParameterError, match="no ActualFrameDuration"):
        dynamic(one, replace(one, attributes={"FrameReferenceTime": 900}))
    with pytest.raises(UnitError, match="kBq"):
        dynamic(one, replace(one, unit="kBq/ml"))
    with pytest.raises(GeometryError, match="another on"):
        dynamic(
            one,
            replace(
                one,
                data=one.data[:3],
                grid=SMALL.moved(start=(0, 0, 0), shape=(3, 24, 24), step=(1, 1, 1)),
            ),
        )
    with pytest.raises(ParameterError, match="no frames"):
        dynamic()
    with pytest.raises(UnitError, match="along t"):
        simulate_dynamic(replace(image, unit="1"))


def test_the_operations_keep_their_promises():
    image, _ = traced()
    frames = [
        replace(
            image.at(t=i), attributes={"ActualFrameDuration": 1e3, "FrameReferenceTime": 1e3 * i}
        )
        for i in range(2)
    ]
    check_operation(dynamic, inputs=tuple(frames))
    check_operation(simulate_dynamic, inputs=(image,), params={"scanner": "tiny"})
