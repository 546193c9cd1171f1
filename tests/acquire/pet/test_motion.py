"""Motion put into frames is found and undone; frames through scan, reconstruction and series."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from somascope.acquire import rigid
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
STRUCTURES = [
    Ellipsoid(0.3, (8, 5, 5), (6, 22, 8)), Ellipsoid(0.3, (-8, 5, 5), (6, 22, 8)),
    Ellipsoid(3.5, (0, -60, 0), (25, 10, 18)), Ellipsoid(3.5, (40, 20, 0), (10, 25, 20)),
    Ellipsoid(3.5, (-42, 25, 5), (10, 25, 20)), Ellipsoid(4.0, (15, 60, 10), (20, 10, 15)),
]  # fmt: skip
TRUTH = np.array(
    [[0, 0, 0, 0, 0, 0], [2.0, -1.5, 1.0, 2.0, -1.0, 3.0], [-4.0, 3.0, 2.5, -3.0, 2.5, -6.0]], float
)
GAINS = (1.0, 1.4, 0.7)


def head(moved_by=(0, 0, 0, 0, 0, 0), shapes=HEAD):
    """The head where it has moved to, at a PET's resolution: drawn there, not resampled.

    A body that moved, seen on a grid, is the body at rest on the grid that moved the other way.
    """
    fine = Grid.from_spacing((60, 120, 120), (5 / 3,) * 3, origin=(-99.1667, -99.1667, -49.1667))
    matrix = rigid.matrix(np.asarray(moved_by, float), rigid.centre_of(GRID))
    there = draw(shapes, Grid(fine.shape, np.linalg.inv(matrix) @ fine.affine))
    blurred = gaussian_filter(there.astype(np.float32), 1.8)
    return blurred.reshape(20, 3, 40, 3, 40, 3).mean(axis=(1, 3, 5))


def dynamic_head(**more):
    data = np.stack([head(m) * s for m, s in zip(TRUTH, GAINS, strict=True)])
    return Image(data * 1000, GRID, "PT", "Bq/ml", axes=(Axis("t", (30, 90, 150), "s"),), **more)


def test_motion_is_found():
    image = dynamic_head()
    found = motion.motion_of(image, reference=0)
    np.testing.assert_allclose(found[:, :3], TRUTH[:, :3], atol=0.04)
    np.testing.assert_allclose(found[:, 3:], TRUTH[:, 3:], atol=0.04)


def test_motion_is_found_in_noise():
    """To 0.05 mm and 0.05 degrees, in noise as a reconstruction leaves it: 1.5 % in the tissue.

    The frames are about as noisy as a head of ten minutes; three draws of it.
    """
    heads = [head(m, HEAD + STRUCTURES) for m in TRUTH]
    still = 1000 * np.stack([h * s for h, s in zip(heads, GAINS, strict=True)])
    spread = 0.015 * np.sqrt(1000 * np.maximum(still, 0) * np.array(GAINS)[:, None, None, None])
    for seed in range(3):
        rng = np.random.default_rng(seed)
        noise = gaussian_filter(rng.standard_normal(still.shape), (0, 0.7, 0.7, 0.7))
        noisy = (still + spread * noise / noise.std()).astype(np.float32)
        tissue = np.abs(heads[1] - 1) < 0.02
        assert (noisy - still)[1][tissue].std() / still[1][tissue].mean() > 0.013
        found = motion.motion_of(replace(dynamic_head(), data=noisy), reference=0)
        np.testing.assert_allclose(found[:, :3], TRUTH[:, :3], atol=0.05)
        np.testing.assert_allclose(found[:, 3:], TRUTH[:, 3:], atol=0.05)


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
    assert error < 0.1 * np.abs(still.data - head(TRUTH[2])).mean()


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
