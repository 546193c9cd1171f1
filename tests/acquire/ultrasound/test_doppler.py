"""Speeds against the motion that was put in, against pymust, and of a real disk that turns."""

import numpy as np
import pytest

from somascope.acquire.ultrasound.doppler import (
    colour_doppler,
    nyquist,
    power_doppler,
    velocity,
)
from somascope.acquire.ultrasound.doppler_clutter import by_svd, clutter
from somascope.acquire.ultrasound.doppler_vector import vector_doppler
from somascope.core.errors import GeometryError, ParameterError
from somascope.testing import check_operation
from tests.acquire.ultrasound.flow import FREQUENCY, PRF, SPEED, iq_image, moving

STEP = (0.1, 0.1)


@pytest.mark.parametrize("deeper", [0.12, -0.2])
def test_a_known_speed_is_found_with_its_sign(deeper):
    found = colour_doppler(iq_image(moving((0.0, deeper)), STEP), averaging=1.0)
    inside = found.data[0, 10:-10, 8:-8]
    assert np.median(inside) == pytest.approx(-100 * deeper, rel=0.02)
    assert found.unit == "cm/s"
    assert found.axes == ()
    assert np.percentile(np.abs(inside + 100 * deeper), 90) < 0.05 * 100 * abs(deeper)


def test_too_fast_is_aliased_by_twice_the_limit():
    limit = nyquist(FREQUENCY, 1 / PRF)
    assert limit == pytest.approx(1540 * 4000 / 4 / 5e6)
    frames = moving((0.0, 1.3 * limit))
    v, spread = velocity(frames, frequency=FREQUENCY, interval=1 / PRF, smooth=(0, 4, 4))
    assert np.median(v[0, 10:-10, 8:-8]) == pytest.approx((2 - 1.3) * limit, rel=0.03)
    assert (spread >= 0).all()


def test_packets_follow_a_changing_speed():
    slow = moving((0.0, 0.05), frames=8)
    fast = moving((0.0, 0.2), frames=8)
    found = colour_doppler(iq_image(np.concatenate([slow, fast]), STEP), packet=8)
    assert found.shape == (2, 1, 60, 40)
    assert np.median(found.data, axis=(1, 2, 3)) == pytest.approx([-5, -20], rel=0.03)
    assert found.axes[0].values == pytest.approx([3.5 / PRF, 11.5 / PRF])


def test_spread_is_that_of_noise():
    """Frames without any coherence: R(1) is near 0 and the formula gives its greatest value."""
    rng = np.random.default_rng(2)
    frames = rng.normal(size=(64, 1, 20, 20)) + 1j * rng.normal(size=(64, 1, 20, 20))
    image = iq_image(frames, STEP)
    wild = colour_doppler(image, quantity="spread", averaging=2.0).data.mean()
    limit = 100 * nyquist(FREQUENCY, 1 / PRF)
    assert wild == pytest.approx(np.sqrt(2) * limit / np.pi, rel=0.03)
    steady = colour_doppler(iq_image(moving((0.0, 0.1)), STEP), quantity="spread")
    assert np.median(steady.data) < 0.3 * wild


def test_equal_to_pymust():
    pymust = pytest.importorskip("pymust")
    frames = moving((0.02, 0.15), noise=0.3)
    parameters = pymust.utils.Param()
    parameters.fc, parameters.c, parameters.PRF = FREQUENCY, SPEED, PRF
    theirs, variance = pymust.iq2doppler(np.moveaxis(frames[:, 0], 0, 2), parameters)
    ours, spread = velocity(frames, frequency=FREQUENCY, interval=1 / PRF, speed=SPEED)
    assert np.abs(ours[0] - theirs).max() < 1e-9
    # Theirs divides by the power of all frames, ours by that of the compared ones.
    assert np.corrcoef(spread[0].ravel(), np.sqrt(np.maximum(variance, 0)).ravel())[0, 1] > 0.9


def wall_and_blood(noise=0.02):
    """Strong tissue that moves by 3 mm/s; a vessel in the middle with blood at 15 cm/s."""
    inside = lambda x, z: (z > 2.2e-3) & (z < 3.8e-3)  # noqa: E731
    tissue = 100 * moving((0.0, 0.003), frames=32, seed=3, region=lambda x, z: ~inside(x, z))
    return tissue + moving((0.0, -0.15), frames=32, seed=4, region=inside, noise=noise)


@pytest.mark.parametrize("settings", [{}, {"rank": 3}, {"method": "polynomial", "order": 3}])
def test_clutter_goes_and_blood_stays(settings):
    frames = wall_and_blood()
    image = iq_image(frames, STEP)
    settings = {"cutoff": 3.0, **settings}
    before = colour_doppler(image, averaging=0.5).data[0]
    clean = clutter(image, **settings)
    after = colour_doppler(clean, averaging=0.5).data[0]
    vessel = np.s_[26:34, 8:-8]
    assert np.median(after[vessel]) == pytest.approx(15.0, rel=0.05)
    assert abs(np.median(before[18:24, 8:-8])) < 1
    contrast = []
    for one in (image, clean):
        power = power_doppler(one, averaging=0.3, range_db=200.0).data[0]
        assert power.max() == 0
        contrast.append(np.median(power[vessel]) - np.median(power[5:15]))
    assert contrast[0] < -30  # tissue is 40 dB above blood
    assert contrast[1] > 5


def test_a_wall_filter_within_is_the_one_before():
    image = iq_image(wall_and_blood(), STEP)
    for wall, apart in (("svd", {"cutoff": 3.0}), ("polynomial", {"order": 2})):
        before = clutter(image, method=wall, **apart)
        for one in (colour_doppler, power_doppler):
            within = one(image, wall=wall, cutoff=3.0)
            np.testing.assert_allclose(within.data, one(before).data, rtol=1e-3, atol=1e-2)


def test_a_high_pass_stops_the_slow_and_passes_the_fast():
    image = iq_image(np.concatenate([moving((0, 0.002), frames=64)]), STEP)
    fast = iq_image(moving((0, 0.15), frames=64), STEP)
    gains = []
    for one in (image, fast):
        out = clutter(one, method="fir", cutoff=5.0, taps=31)
        assert out.shape[0] == 64 - 30
        assert out.axes[0].values[0] == pytest.approx(15 / PRF)
        gains.append(np.mean(np.abs(out.data) ** 2) / np.mean(np.abs(one.data) ** 2))
    assert gains[0] < 1e-3
    assert gains[1] == pytest.approx(1, abs=0.05)


def test_svd_takes_exactly_what_has_low_rank():
    rng = np.random.default_rng(0)
    low = np.einsum("tr,rp->tp", rng.normal(size=(20, 2)), 50 * rng.normal(size=(2, 300)))
    rest = rng.normal(size=(20, 300))
    out, rank = by_svd((low + rest + 0j).reshape(20, 1, 15, 20), rank=2)
    u, s, vh = np.linalg.svd(low + rest, full_matrices=False)
    s[:2] = 0
    assert rank == 2
    assert np.abs(out.reshape(20, 300) - (u * s) @ vh).max() < 1e-9


def test_both_components_from_three_angles():
    truth = (0.1, -0.06)
    angles = np.array([-12.0, 0.0, 12.0])
    frames = np.stack([moving(truth, angle=np.radians(a), seed=5) for a in angles])
    across, towards = vector_doppler(iq_image(frames, STEP, angles=angles), averaging=1.5)
    inner = np.s_[0, 10:-10, 8:-8]
    assert np.median(across.data[inner]) == pytest.approx(100 * truth[0], rel=0.05)
    assert np.median(towards.data[inner]) == pytest.approx(-100 * truth[1], rel=0.03)
    assert "lateral" in across.attributes["SeriesDescription"]


@pytest.mark.parametrize(
    ("wrong", "error", "word"),
    [
        (lambda i: i.with_data(np.abs(i.data)), ParameterError, "complex"),
        (lambda i: i.at(t=0), GeometryError, "'t'"),
        (lambda i: iq_image(i.data, STEP, times=[0, 1, 5, 6]), ParameterError, "equal steps"),
        (lambda i: i.with_data(i.data * np.nan), GeometryError, "finite"),
    ],
)
def test_what_is_no_doppler_data_is_refused(wrong, error, word):
    image = iq_image(moving((0, 0.1), frames=4), STEP)
    with np.errstate(invalid="ignore"):
        bad = wrong(image)
    with pytest.raises(error, match=word):
        colour_doppler(bad)


def test_limits_are_said():
    from dataclasses import replace

    image = iq_image(moving((0, 0.1), frames=6), STEP)
    with pytest.raises(ParameterError, match="packet of 9 of 6"):
        colour_doppler(image, packet=9)
    with pytest.raises(ParameterError, match="give frequency"):
        colour_doppler(replace(image, attributes={}))
    with pytest.raises(ParameterError, match="leaves nothing"):
        clutter(image, rank=6)
    with pytest.raises(ParameterError, match="odd number"):
        clutter(image, method="fir", taps=4)
    with pytest.raises(ParameterError, match="hardly differ"):
        vector_doppler(iq_image(np.stack([image.data] * 2), STEP, angles=[0.0, 0.1]))


def test_the_contract():
    image = iq_image(moving((0, 0.1), shape=(24, 16), frames=6), STEP)
    for one in (colour_doppler, power_doppler, clutter):
        check_operation(one, inputs=(image,))
    pair = iq_image(np.stack([image.data] * 2), STEP, angles=[-10.0, 10.0])
    check_operation(vector_doppler, inputs=(pair,))


@pytest.mark.data
def test_a_real_disk_turns_as_fast_as_its_speckle(data):
    """One rotation, told twice: by the phase (Doppler), and by how far the pattern has turned."""
    from scipy.io import loadmat
    from scipy.ndimage import map_coordinates

    pymust = pytest.importorskip("pymust")
    path = data / "pymust_rf" / "PWI_disk.mat"
    if not path.is_file():
        pytest.skip("the rotating disk is not among the development data")
    content = loadmat(path, squeeze_me=True, struct_as_record=False)
    told = content["param"]
    parameters = pymust.utils.Param()
    for name in ("fs", "pitch", "fc", "c", "PRF", "width"):
        parameters[name] = float(getattr(told, name))
    parameters.Nelements, parameters.TXdelay = 128, np.zeros(128)
    parameters.t0, parameters.fnumber = np.array([float(told.t0)]), None
    step = 2e-4
    x, z = np.meshgrid(np.arange(-0.0125, 0.01251, step), np.arange(0.01, 0.03501, step))
    iq = pymust.rf2iq(content["RF"].astype(float), parameters)
    matrix = pymust.dasmtx(1j * np.array(iq.shape[:2]), x, z, parameters, "nearest")
    frames = (matrix @ iq.reshape(-1, 32, order="F")).reshape(*x.shape, 32, order="F")
    theirs, _ = pymust.iq2doppler(frames, parameters)
    image = iq_image(
        np.moveaxis(frames, 2, 0)[:, None], (0.2, 0.2), times=np.arange(32) / parameters.PRF
    )
    settings = {"frequency": 5.0, "speed_of_sound": parameters.c}
    exact = colour_doppler(image, averaging=0.0, threshold=200.0, **settings).data[0]
    assert np.abs(exact / 100 - theirs).max() < 1e-4  # complex64 here, complex128 there
    smooth = colour_doppler(image, averaging=1.0, **settings).data[0] / 100
    centre = (-7.5e-5, 0.02315)  # of the disk's outline
    inner = np.hypot(x - centre[0], z - centre[1]) < 0.007
    rows = np.stack([x[inner], z[inner], np.ones(inner.sum())], axis=1)
    (turn, along, _), *_ = np.linalg.lstsq(rows, smooth[inner], rcond=None)
    assert abs(along) < 0.03 * abs(turn)  # a rigid turn: the velocity along z depends on x alone
    bearing = np.arange(1440) / 1440 * 2 * np.pi
    radius = np.arange(0.003, 0.008, step)[:, None]
    place = [
        (centre[1] + radius * np.sin(bearing) - z[0, 0]) / step,
        (centre[0] + radius * np.cos(bearing) - x[0, 0]) / step,
    ]
    rings = [np.log(map_coordinates(np.abs(frames[..., k]), place, order=1)) for k in range(32)]
    rings = np.fft.rfft([r - r.mean(axis=1, keepdims=True) for r in rings], axis=-1)
    match = np.fft.irfft(np.sum(np.conj(rings[:-10]) * rings[10:], axis=(0, 1)))
    peak = int(np.argmax(match[:400]))
    a, b, c = match[peak - 1 : peak + 2]
    angle = (peak + 0.5 * (a - c) / (a - 2 * b + c)) / 1440 * 2 * np.pi
    assert -turn == pytest.approx(angle * parameters.PRF / 10, rel=0.05)
