"""From counts to Bq/ml: known activity is found again, by every method and through every door."""

from dataclasses import replace

import numpy as np
import pytest

from somascope.acquire.operators import Gradient
from somascope.acquire.spect.attenuation import attenuation
from somascope.acquire.spect.calibrate import calibrate
from somascope.acquire.spect.camera import Camera, Window, dual_windows, triple_windows
from somascope.acquire.spect.fbp import angular_weights, chang, fbp
from somascope.acquire.spect.filters import filtered
from somascope.acquire.spect.orbit import circular
from somascope.acquire.spect.osem import mlem, osem
from somascope.acquire.spect.parallel import ParallelScan
from somascope.acquire.spect.penalised import _EDGE, WEIGHTS, penalised, slope
from somascope.acquire.spect.scatter import scatter
from somascope.acquire.spect.scattering import shares
from somascope.acquire.spect.simulate import simulate
from somascope.acquire.spect.system import order, prepare
from somascope.core import Acquisition, Grid, Image
from somascope.core.errors import GeometryError, ParameterError, UnitError
from somascope.phantoms.ellipsoid import Ellipsoid, draw
from somascope.phantoms.nema import nema_shapes
from somascope.phantoms.quality import image_quality
from somascope.testing import check_operation

PIXEL = 6.0
BODY = 1e4


def grid(nz=12, n=40):
    half = (n - 1) / 2 * PIXEL
    return Grid.from_spacing(
        (nz, n, n), (PIXEL,) * 3, origin=(-half, -half, -(nz - 1) / 2 * PIXEL),
        frame_of_reference="1.2.3",
    )  # fmt: skip


def bodies(extra=(), g=None):
    """A cylinder of water with ``BODY`` Bq/ml and what is painted into it; and its CT."""
    g = grid() if g is None else g
    shapes = [Ellipsoid(BODY, (0, 0, 0), (95, 80, 9000))]
    water = draw(shapes, g) > 0
    activity = draw([*shapes, *extra], g)
    ct = np.where(water, 0, -1000).astype(np.int16)
    return Image(activity, g, "NM", "Bq/ml"), Image(ct, g, "CT", "[hnsf'U]")


@pytest.fixture(scope="module")
def cylinder():
    return bodies()


@pytest.fixture(scope="module")
def scattered(cylinder):
    """Attenuation, blur, scatter in three windows, decay and noise: all that a camera sees."""
    return simulate(
        *cylinder, views=60, seconds=200.0, windows="triple", scatter=0.35, seed=3,
        orbit="body contour",
    )  # fmt: skip


MIDDLE = np.s_[3:9, 13:27, 12:28]


def test_activity_is_found_within_three_per_cent_with_everything_on(scattered):
    assert scattered.samples.shape == (3, 60, 12, 40)
    corrected = scatter(scattered)
    image = osem(corrected, iterations=6, subsets=10)
    assert image.unit == "Bq/ml"
    assert image.data[MIDDLE].mean() == pytest.approx(BODY, rel=0.03)
    edge, centre = image.data[3:9, 19:21, 6:9].mean(), image.data[3:9, 18:22, 18:22].mean()
    assert edge == pytest.approx(BODY, rel=0.05)
    assert centre == pytest.approx(BODY, rel=0.05)
    plain = osem(scattered, iterations=6, subsets=10)
    assert plain.data[MIDDLE].mean() > 1.2 * BODY, "scatter that is left in"
    missing = osem(corrected, iterations=6, subsets=10, attenuation=False)
    assert missing.data[MIDDLE].mean() < 0.5 * BODY


def test_scatter_is_that_which_was_put_in(cylinder):
    whole = simulate(*cylinder, views=12, windows="triple", scatter=0.4, noise=False)
    clean = simulate(*cylinder, views=12, windows="triple", noise=False)
    truth = whole.samples[0] - clean.samples[0]
    found = scatter(whole, smooth=0.0).calibration["scatter"]
    assert truth.sum() == pytest.approx(0.4 * clean.samples[0].sum(), rel=1e-3)
    assert found.sum() == pytest.approx(truth.sum(), rel=0.03)
    assert np.corrcoef(found.ravel(), truth.ravel())[0, 1] > 0.999
    assert scatter(clean).calibration["scatter"].sum() < 2e-3 * clean.samples[0].sum()
    wide = simulate(*cylinder, views=12, windows="dual", scatter=0.4, noise=False)
    k = 1 / float(shares(wide.operator.camera, 0)[1])
    dual = scatter(wide, method="DEW", factor=k, smooth=0.0).calibration["scatter"]
    assert dual.sum() == pytest.approx(truth.sum(), rel=0.03)
    with pytest.raises(ParameterError, match="no scatter window"):
        scatter(simulate(*cylinder, views=4))
    with pytest.raises(ParameterError, match="DEW needs a window"):
        scatter(simulate(*cylinder, views=4), method="DEW")


def test_chang_restores_the_centre(cylinder):
    scan = simulate(*cylinder, views=60, noise=False)
    without = fbp(scan, attenuation=False).data
    zeroth = fbp(scan, chang_iterations=0).data
    first = fbp(scan, chang_iterations=1).data
    middle = np.s_[4:8, 18:22, 18:22]
    assert without[middle].mean() < 0.4 * BODY
    assert zeroth[middle].mean() == pytest.approx(BODY, rel=0.10)
    assert first[middle].mean() == pytest.approx(BODY, rel=0.05)
    hollow = [i[middle].mean() / i[4:8, 19:21, 8:10].mean() for i in (without, first)]
    assert hollow[0] < 0.85
    assert hollow[1] == pytest.approx(1, abs=0.05)


def test_changs_factor_in_closed_form(cylinder):
    """In the centre of a circle of water every way is as long."""
    g = grid(3, 41)
    y, x = np.mgrid[-20:21, -20:21] * PIXEL
    mu = np.broadcast_to(np.where(np.hypot(y, x) < 90, 0.015, 0.0), g.shape)
    scan = ParallelScan(
        grid=g, angles=circular(40), radius=150.0, columns=41, mu=mu, resolution=False
    )
    assert chang(scan)[1, 20, 20] == pytest.approx(np.exp(0.015 * 90), rel=0.02)


def test_filtered_back_projection_is_an_inverse(cylinder):
    activity, _ = cylinder
    scan = simulate(activity, views=90, noise=False, resolution=False)
    image = fbp(scan, kernel="ramp")
    assert image.data[MIDDLE].mean() == pytest.approx(BODY, rel=0.01)
    assert fbp(scan, kernel="hann").data[MIDDLE].mean() == pytest.approx(BODY, rel=0.01)
    half = simulate(activity, views=45, arc=180.0, noise=False, resolution=False, heads=1)
    assert fbp(half).data[MIDDLE].mean() == pytest.approx(BODY, rel=0.02)
    assert angular_weights(circular(12)).sum() == pytest.approx(np.pi)
    assert angular_weights(circular(7, arc=180)).sum() == pytest.approx(np.pi)
    flat = filtered(np.ones((1, 64), np.float32), 2.0, kernel="butterworth", cutoff=0.4)
    assert abs(flat[0, 32]) < 0.02


def test_twice_the_activity_is_twice_the_image(cylinder):
    activity, ct = cylinder
    one = simulate(activity, ct, views=30, noise=False)
    two = simulate(activity.with_data(2 * activity.data), ct, views=30, noise=False)
    for method in (fbp, lambda a: osem(a, iterations=3, subsets=5)):
        assert np.allclose(method(two).data, 2 * method(one).data, rtol=2e-3, atol=BODY * 1e-4)


def nema(cold=()):
    """The image quality phantom and its water, drawn fine and averaged."""
    g, fine = grid(13, 56), 3
    small = Grid(
        tuple(fine * n for n in g.shape),
        g.affine @ np.diag([1 / fine] * 3 + [1]) @ np.array(
            [[1, 0, 0, -1], [0, 1, 0, -1], [0, 0, 1, -1], [0, 0, 0, 1]], float
        ),
    )  # fmt: skip

    def averaged(shapes):
        nz, ny, nx = g.shape
        return draw(shapes, small).reshape(nz, fine, ny, fine, nx, fine).mean(axis=(1, 3, 5))

    activity = averaged(nema_shapes(background=BODY, contrast=8.0, cold=cold))
    water = averaged([Ellipsoid(1000.0, (0, 0, 0), (150, 115, 420))]) - 1000
    return Image(activity, g, "NM", "Bq/ml"), Image(water, g, "CT", "[hnsf'U]")


def test_contrast_of_hot_and_cold_spheres_and_variability():
    """Larger spheres are recovered better; resolution in the model and iterations recover more."""
    cold = (28.0, 37.0)
    activity, ct = nema(cold)

    def quality(scan, **how):
        return image_quality(
            osem(scan, **how), contrast=8.0, cold=cold, background=BODY, slices=(-12.0, 0.0, 12.0)
        )

    scan = simulate(activity, ct, views=60, radius=190.0, noise=False)
    found = quality(scan, iterations=8, subsets=10)
    for kind in (slice(0, 4), slice(4, 6)):
        assert (np.diff(found.contrast[kind]) > 0).all()
    assert (np.diff(found.recovery[:4]) > 0).all()
    assert found.contrast[3] > 45
    assert found.contrast[5] > 65
    assert found.background == pytest.approx(BODY, rel=0.03)
    blunt = quality(scan, iterations=8, subsets=10, resolution=False)
    assert (found.contrast[2:4] > blunt.contrast[2:4] + 10).all()
    assert (found.contrast[4:] > blunt.contrast[4:]).all()
    counts = simulate(activity, ct, views=60, radius=190.0, seconds=20.0, seed=1)
    early, late = (quality(counts, iterations=n, subsets=10) for n in (1, 6))
    assert (late.contrast[2:] > early.contrast[2:]).all()
    assert late.variability.mean() > 1.2 * early.variability.mean()


def test_noise_falls_with_the_root_of_the_counts():
    activity, ct = bodies()
    noise = []
    for seconds in (5.0, 20.0):
        pair = [
            osem(simulate(activity, ct, views=60, seconds=seconds, seed=s), iterations=2).data
            for s in (1, 2)
        ]
        quiet = np.s_[4:8, 22:28, 12:20]
        noise.append((pair[0] - pair[1])[quiet].std())
    assert noise[0] / noise[1] == pytest.approx(2.0, rel=0.35)


def test_activity_outside_the_attenuation_map_is_found_too(cylinder):
    """The start is the body, but what lies beside it is not given up."""
    activity, ct = cylinder
    beside = Ellipsoid(5 * BODY, (0, 105, 0), (12, 12, 12))
    spot = draw([beside], activity.grid) > 0
    seen = activity.with_data(np.where(spot, 5 * BODY, activity.data).astype(np.float32))
    scan = simulate(seen, ct, views=60, noise=False)
    image = osem(scan, iterations=6, subsets=10)
    even = osem(replace(scan, operator=scan.operator.with_attenuation(None)), iterations=6,
                subsets=10)  # fmt: skip
    system = prepare(scan, name="x")
    operators, counts, _ = system.subsets(10)
    start = system.start(operators, counts)
    assert start is not None
    assert start[6, 20, 20] == pytest.approx(10 * start[6, 0, 0])
    assert operators[0].forward(start).sum() == pytest.approx(counts[0].sum(), rel=1e-4)
    assert image.data[spot].mean() > 0.6 * 5 * BODY
    assert image.data[spot].mean() > even.data[spot].mean()
    assert prepare(replace(scan, operator=scan.operator.with_attenuation(None)), name="x").start(
        operators, counts
    ) is None  # fmt: skip


def test_calibration_finds_the_cameras_sensitivity(cylinder):
    activity, ct = cylinder
    wrong = Camera(sensitivity=50.0)
    scan = simulate(activity, ct, views=30, noise=False)
    raw = replace(
        scan, operator=scan.operator.with_changes(camera=wrong),
        calibration={k: v for k, v in scan.calibration.items() if k != "sensitivity"},
    )  # fmt: skip
    assert osem(raw, iterations=1).unit == "{counts}/s/ml"
    point = np.zeros(activity.shape, np.float32)
    point[6, 20, 20] = 1e6
    air = simulate(Image(point, activity.grid, "NM", "Bq/ml"), views=30, noise=False)
    mbq = 1e6 * PIXEL**3 / 1000 * 1e-6
    found = calibrate(raw, air, activity=mbq)
    true = Camera(photons=0.885).cps_per_mbq
    assert float(found.calibration["sensitivity"]) == pytest.approx(true, rel=0.01)
    image = osem(found, iterations=6, subsets=6)
    assert image.unit == "Bq/ml"
    assert image.data[MIDDLE].mean() == pytest.approx(BODY, rel=0.02)
    total = float(activity.data.sum()) * PIXEL**3 / 1000 * 1e-6
    phantom = calibrate(raw, raw, activity=total, method="image")
    assert float(phantom.calibration["sensitivity"]) == pytest.approx(true, rel=0.03)
    with pytest.raises(ParameterError, match="not in air"):
        calibrate(raw, scan, activity=1.0)
    with pytest.raises(GeometryError, match="same collimator"):
        calibrate(raw, simulate(activity, views=4, collimator="LEGP"), activity=1.0)


def test_decay_is_taken_back_to_the_start_and_to_the_injection(cylinder):
    activity, ct = cylinder
    dated = replace(
        activity,
        attributes={
            "AcquisitionDate": "20260102", "AcquisitionTime": "120000",
            "RadiopharmaceuticalInformationSequence": [
                {"RadiopharmaceuticalStartTime": "090000", "RadionuclideHalfLife": 1.0}
            ],
        },
    )  # fmt: skip
    slow = simulate(dated, ct, views=30, seconds=600.0, heads=1, noise=False)
    counts = slow.samples.sum(axis=(1, 2))
    assert counts[-1] / counts[0] < 0.6, "five hours of technetium"
    image = osem(slow, iterations=5, subsets=6)
    assert image.data[MIDDLE].mean() == pytest.approx(BODY, rel=0.02)
    earlier = osem(slow, iterations=5, subsets=6, decay="injection")
    ratio = earlier.data[MIDDLE].mean() / image.data[MIDDLE].mean()
    assert ratio == pytest.approx(2 ** (3 * 3600 / 21624), rel=1e-3)
    with pytest.raises(ParameterError, match="RadiopharmaceuticalStartTime"):
        osem(simulate(activity, ct, views=6), iterations=1, subsets=1, decay="injection")


def test_a_ct_on_another_grid_is_brought_over(cylinder):
    activity, ct = cylinder
    fine = Grid.from_spacing(
        (40, 120, 120), (2.0, 2.0, 2.0), origin=(-119, -119, -39), frame_of_reference="1.2.3"
    )
    water = draw([Ellipsoid(1.0, (0, 0, 0), (95, 80, 9000))], fine) > 0
    sharp = Image(np.where(water, 0, -1000).astype(np.int16), fine, "CT", "[hnsf'U]")
    bare = simulate(activity, views=12)
    assert bare.operator.mu is None
    with_ct = attenuation(bare, sharp)
    coarse = attenuation(bare, ct)
    assert with_ct.operator.mu.max() == pytest.approx(0.0153, abs=0.0004)
    assert with_ct.operator.mu.sum() == pytest.approx(coarse.operator.mu.sum(), rel=0.02)
    other = replace(sharp, grid=replace(fine, frame_of_reference="1.9"))
    with pytest.raises(GeometryError, match="frame of reference"):
        attenuation(bare, other)
    away = replace(sharp, grid=fine.moved(start=(900, 0, 0), shape=fine.shape, step=(1, 1, 1)))
    with pytest.raises(GeometryError, match="overlap"):
        attenuation(bare, away)


def test_bad_counts_are_refused(cylinder):
    scan = simulate(*cylinder, views=6)
    bad = np.array(scan.samples)
    for value, message in ((-1.0, "negative"), (np.nan, "NaN"), (np.inf, "infinite")):
        bad[0, 0, 0] = value
        for method in (fbp, mlem):
            with pytest.raises(UnitError, match=message):
                method(scan.with_samples(bad))
    with pytest.raises(UnitError, match="needs counts"):
        osem(scan.with_samples(scan.samples, unit="1"))
    with pytest.raises(ParameterError, match="subsets"):
        osem(scan, subsets=7)
    with pytest.raises(GeometryError, match="number of views"):
        scan.with_samples(scan.samples[:5])
    with pytest.raises(GeometryError, match="scatter has shape"):
        osem(replace(scan, calibration={"scatter": np.zeros((5, 12, 40))}))
    blind = scan.operator.with_changes(camera=Camera(windows=(Window("s", 90, 120, 0.0),)))
    with pytest.raises(ParameterError, match="photopeak"):
        osem(replace(scan, operator=blind))

    class Other:
        domain = range = (3,)

        def forward(self, x):
            return x

        adjoint = forward

    with pytest.raises(GeometryError, match="SPECT"):
        fbp(Acquisition(np.ones(3), Other(), "NM"))


def test_a_simulation_asks_for_what_it_needs(cylinder):
    activity, ct = cylinder
    with pytest.raises(UnitError, match="Bq/ml"):
        simulate(ct)
    with pytest.raises(UnitError, match="negative"):
        simulate(activity.with_data(-activity.data))
    with pytest.raises(ParameterError, match="needs a body"):
        simulate(activity, scatter=0.3)
    with pytest.raises(ParameterError, match="heads"):
        simulate(activity, views=7, heads=2)
    with pytest.raises(ParameterError, match="3 images"):
        simulate(activity, ct, ct)


def test_subsets_are_far_apart_and_complete():
    for n in (1, 2, 5, 8, 12):
        assert sorted(order(n)) == list(range(n))
    assert order(8)[1] in (3, 4, 5)


def test_two_peaks_are_added(cylinder):
    activity, _ = cylinder
    windows = (Window("a", 154, 188, 0.49), Window("b", 221, 270, 0.51))
    scan = simulate(activity, views=20, noise=False)
    both = ParallelScan(
        **{**scan.operator.describe(), "camera": replace(scan.operator.camera, windows=windows)}
    )
    found = replace(scan, operator=both, samples=np.maximum(both.forward(activity.data), 0))
    system = prepare(found, name="x")
    assert system.counts.sum() == pytest.approx(scan.samples.sum(), rel=1e-4)
    assert osem(found, iterations=4).data[MIDDLE].mean() == pytest.approx(BODY, rel=0.02)


@pytest.mark.parametrize(
    "name", ["fbp", "mlem", "osem", "map", "scatter", "attenuation", "calibrate"]
)
def test_every_operation_keeps_the_contract(name):
    g = grid(3, 16)
    shapes = [Ellipsoid(BODY, (0, 0, 0), (40, 35, 9000))]
    activity = Image(draw(shapes, g), g, "NM", "Bq/ml")
    water = np.where(activity.data > 0, 0, -1000).astype(np.int16)
    ct = Image(water, g, "CT", "[hnsf'U]")
    scan = simulate(activity, ct, views=8, windows="triple", scatter=0.2)
    inputs = {"attenuation": (scan, ct), "calibrate": (scan, simulate(activity, views=8))}
    params = {
        "calibrate": {"activity": 3.0}, "mlem": {"iterations": 2},
        "osem": {"iterations": 1, "subsets": 4}, "map": {"iterations": 1, "subsets": 4},
    }  # fmt: skip
    check_operation(
        f"acquire.spect.{name}", inputs=inputs.get(name, (scan,)), params=params.get(name)
    )
    if name == "fbp":
        check_operation("acquire.spect.simulate", inputs=(activity, ct), params={"views": 6})


def test_windows_have_their_order():
    assert [w.share for w in triple_windows()] == [1, 0, 0]
    assert dual_windows()[1].high < dual_windows()[0].low
    assert triple_windows()[1].high == pytest.approx(triple_windows()[0].low)


@pytest.mark.parametrize(
    ("prior", "beta"), [("TV", 0.02), ("quadratic", 0.05), ("quadratic", 2.0), ("relative", 0.02)]
)
def test_a_prior_takes_noise_and_leaves_activity(cylinder, prior, beta):
    scan = simulate(*cylinder, views=60, seconds=15.0, seed=5)
    plain = osem(scan, iterations=10, subsets=6).data[MIDDLE]
    # Two iterations of OSEM come first.
    same = penalised(scan, prior=prior, beta=0.0, iterations=8, subsets=6).data[MIDDLE]
    assert np.allclose(same, plain, rtol=1e-3)
    calm = penalised(scan, prior=prior, beta=beta, iterations=8, subsets=6).data[MIDDLE]
    assert calm.std() < 0.6 * plain.std()
    assert calm.mean() == pytest.approx(BODY, rel=0.03 if beta < 1 else 0.10)


@pytest.mark.parametrize("prior", ["TV", "quadratic"])
def test_slopes_are_those_of_their_priors(prior):
    x = np.random.default_rng(1).random((4, 5, 6)) + 1.0
    scale, least = x.mean(), _EDGE * x.max()

    def value(x):
        total = np.zeros(x.shape)
        for axis, step in enumerate((2.0, 1.0, 1.0)):
            d = np.diff(x, axis=axis, append=np.take(x, [-1], axis=axis)) / step
            total += d * d
        return (
            0.5 * total.sum() / scale if prior == "quadratic" else np.sqrt(total + least**2).sum()
        )

    found, diagonal = slope(x, Gradient(x.shape, spacing=(2.0, 1.0, 1.0)), WEIGHTS[prior])
    assert (diagonal > 0).all()
    for index in ((0, 0, 0), (2, 3, 1), (3, 4, 5)):
        ends = []
        for move in (1e-5, -1e-5):
            moved = x.copy()
            moved[index] += move
            ends.append(value(moved))
        assert found[index] == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-4, abs=1e-4)
