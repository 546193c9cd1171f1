"""Corrections of CT samples: each artefact is made on purpose and must go."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import map_coordinates, median_filter

from somascope.acquire.ct.centre import centre, opposite_views
from somascope.acquire.ct.cone import ConeScan, HelicalScan
from somascope.acquire.ct.fan import FanScan
from somascope.acquire.ct.fbp import fbp
from somascope.acquire.ct.hardening import beam_hardening, harden_two, harden_water
from somascope.acquire.ct.hounsfield import mu_water
from somascope.acquire.ct.metal import metal, prior_image, spread
from somascope.acquire.ct.metal_image import reduce_metal
from somascope.acquire.ct.normalise import bridge, normalise
from somascope.acquire.ct.parallel import ParallelScan
from somascope.acquire.ct.rings import remove_rings
from somascope.acquire.ct.scatter import scatter, scattered
from somascope.acquire.ct.simulate import simulate, transmitted
from somascope.acquire.ct.truncation import cylinder_tail, extend
from somascope.core import Acquisition, Grid, Image
from somascope.core.errors import GeometryError, ParameterError, UnitError
from somascope.phantoms import Ellipsoid, draw, shepp_logan, thorax_ct, thorax_grid
from somascope.testing import check_operation

WATER = mu_water()
N = 96
GRID = Grid.from_spacing((1, N, N), (1, 2, 2), origin=(-(N - 1), -(N - 1), 0))
Y, X = np.mgrid[:N, :N] - (N - 1) / 2


def body(*more, value=0.0):
    """A disc of water (HU) of 70 mm radius with inserts, as an image."""
    shapes = [Ellipsoid(value, (0, 0, 0), (70, 70, 50)), *more]
    return Image(draw(shapes, GRID, background=-1000), GRID, "CT", "[hnsf'U]")


def rmse(image, truth, where=None):
    gap = (image.data - truth)[0]
    return float(np.sqrt(np.mean((gap if where is None else gap[where]) ** 2)))


PHANTOM = shepp_logan((64, 64))


@pytest.fixture(scope="module")
def plain():
    return simulate(PHANTOM, views=90)


# Flat and dark field


def counts(plain, *, seed=0):
    rng = np.random.default_rng(seed)
    bins = plain.samples.shape[1]
    gain = rng.uniform(0.5, 1.5, bins) * 1e6
    dark = rng.uniform(50, 150, bins)
    raw = gain * np.exp(-plain.samples) + dark
    return raw, gain + dark, dark


def test_flat_and_dark_field_give_the_line_integrals_back(plain):
    raw, flat, dark = counts(plain)
    given = Acquisition(raw, plain.operator, "CT", "{counts}", {"flat": flat, "dark": dark})
    made = normalise(given)
    np.testing.assert_allclose(made.samples, plain.samples, atol=1e-4)
    assert made.unit == "1"
    np.testing.assert_allclose(made.calibration["weights"], raw - dark, rtol=1e-3, atol=10)
    several = {"flat": np.stack([flat - 5, flat + 5]), "dark": np.stack([dark, dark])}
    again = normalise(Acquisition(raw, plain.operator, "CT", "{counts}", several))
    np.testing.assert_allclose(again.samples, plain.samples, atol=1e-4)


def test_defects_are_found_bridged_and_counted(plain):
    raw, flat, dark = counts(plain)
    flat[40] = dark[40]  # dead
    flat[47] = dark[47] - 3
    raw[:, 55] = rng_row(raw.shape[0])  # hot, known from the map
    raw[7, 20] = np.nan
    raw[8, 30] = dark[30] - 40  # no signal
    defects = np.zeros(raw.shape[1], bool)
    defects[55] = True
    calibration = {"flat": flat, "dark": dark, "defects": defects}
    made = normalise(Acquisition(raw, plain.operator, "CT", "{counts}", calibration))
    assert sorted(np.flatnonzero(made.calibration["defects"])) == [40, 47, 55]
    assert made.calibration["starved"].sum() == 1
    assert made.attributes["ImageComments"].startswith(
        "3 defective of 94 elements, 1 samples not finite, 1 without signal"
    )
    assert made.samples[8, 30] == pytest.approx(-np.log(1e-5), rel=1e-3)
    untouched = np.ones(raw.shape, bool)
    untouched[:, [40, 47, 55]] = False
    untouched[8, 30] = untouched[7, 20] = False
    np.testing.assert_allclose(made.samples[untouched], plain.samples[untouched], atol=1e-4)
    gap = np.abs(made.samples - plain.samples)
    gap[8, 30] = 0
    assert gap.max() < 0.35 * plain.samples.max()
    assert (made.calibration["weights"][:, 40] == 0).all()


def rng_row(n):
    return np.random.default_rng(5).uniform(0, 4e6, n)


def test_normalise_refuses(plain):
    raw, flat, dark = counts(plain)
    scan = plain.operator

    def run(samples, unit="{counts}", **calibration):
        return normalise(Acquisition(samples, scan, "CT", unit, calibration))

    with pytest.raises(UnitError, match="corrected before"):
        run(raw, unit="1", flat=flat)
    with pytest.raises(ParameterError, match="no flat field"):
        run(raw)
    with pytest.raises(GeometryError, match=r"shape \(93,\) but the detector is \(94,\)"):
        run(raw, flat=flat[:-1])
    with pytest.raises(GeometryError, match="dark"):
        run(raw, flat=flat, dark=np.zeros((4, 5)))
    with pytest.raises(ParameterError, match="exchanged"):
        run(raw, flat=dark, dark=flat)
    with pytest.raises(ParameterError, match="zero or negative"):
        run(-raw, flat=flat, dark=dark)
    bad = flat.copy()
    bad[:2] = np.nan
    with pytest.raises(ParameterError, match="2 values that are not finite"):
        run(raw, flat=bad)
    with pytest.raises(GeometryError, match="measures"):
        run(raw[:-1], flat=flat)


def test_bridge_is_linear():
    rows = np.array([[0.0, 9, 9, 6], [1, 2, 3, 4]])
    bad = np.array([[False, True, True, False], [False] * 4])
    np.testing.assert_allclose(bridge(rows, bad), [[0, 2, 4, 6], [1, 2, 3, 4]])


# Axis of rotation


@pytest.mark.parametrize(
    ("method", "arc"), [("moments", 180), ("opposite", 360), ("opposite", 180)]
)
def test_axis_is_found(method, arc):
    shift = 4.7  # mm, 1.4 bins of 3.4 mm
    scanned = simulate(PHANTOM, views=90 * arc // 180, arc=arc, offset=shift, bins=110)
    wrong = scanned.operator.with_changes(offset=0.0)
    lost = Acquisition(scanned.samples, wrong, "CT", calibration=scanned.calibration)
    found = centre(lost, method=method)
    assert found.operator.offset == pytest.approx(shift, abs=0.25)
    truth = PHANTOM.data * 1000 - 1000
    assert rmse(fbp(found), truth) < 1.1 * rmse(fbp(scanned), truth)
    assert rmse(fbp(lost), truth) > 1.8 * rmse(fbp(found), truth)


def test_axis_from_truncated_views():
    scanned = simulate(PHANTOM, views=180, arc=360, offset=3.0, bins=44)
    wrong = scanned.operator.with_changes(offset=0.0)
    found = centre(Acquisition(scanned.samples, wrong, "CT"), method="opposite")
    assert found.operator.offset == pytest.approx(3.0, abs=0.4)


def test_axis_refusals(plain):
    quarter = simulate(PHANTOM, views=30, arc=90)
    with pytest.raises(ParameterError, match="half a turn"):
        centre(quarter, method="opposite")
    empty = plain.with_samples(np.where(np.arange(90)[:, None] < 5, 0, plain.samples))
    with pytest.raises(ParameterError, match="almost nothing"):
        centre(empty)
    fan = FanScan(grid=GRID, angles=np.arange(8.0), bins=20, spacing=9.0, source=500, detector=900)
    with pytest.raises(ParameterError, match="full turn"):
        centre(Acquisition(np.ones(fan.range, np.float32), fan, "CT"))
    helix = HelicalScan(grid=GRID, angles=np.arange(8.0), rows=2, columns=9, spacing=(9.0, 9.0),
                        source=500, detector=900, pitch=5.0)  # fmt: skip
    with pytest.raises(GeometryError, match=r"ct\.helical"):
        centre(Acquisition(np.ones(helix.range, np.float32), helix, "CT"))
    one, two = opposite_views(np.arange(8) * np.pi / 4)
    np.testing.assert_array_equal(two - one, 4)


@pytest.mark.parametrize("curved", [True, False])
@pytest.mark.parametrize("make", [FanScan, ConeScan])
def test_axis_of_divergent_beams(make, curved):
    size = {"bins": 90} if make is FanScan else {"rows": 2, "columns": 90}
    spacing = 5.0 if make is FanScan else (5.0, 5.0)
    image = body(
        Ellipsoid(200, (25, 10, 0), (12, 8, 50)), Ellipsoid(-300, (-20, 30, 0), (9, 9, 50))
    )
    mu = (image.data + 1000) * np.float32(WATER / 1000)
    grid = (
        GRID
        if make is FanScan
        else Grid.from_spacing((3, N, N), (2, 2, 2), origin=(-(N - 1), -(N - 1), -2))
    )
    given = {
        "grid": grid, "angles": np.arange(120) * np.pi / 60, **size, "spacing": spacing,
        "source": 500.0, "detector": 900.0, "curved": curved,
    }  # fmt: skip
    true = make(**given, offset=7.3)
    samples = true.forward(np.repeat(mu, grid.shape[0], axis=0))
    found = centre(Acquisition(samples, make(**given), "CT"))
    assert found.operator.offset == pytest.approx(7.3, abs=0.5)


# Rings


@pytest.mark.parametrize(("method", "left"), [("sorting", 0.75), ("mean", 0.5), ("wavelet", 0.6)])
def test_rings_go_and_the_object_stays(method, left):
    shapes = [Ellipsoid(60, (20, 10, 0), (15, 10, 50)), Ellipsoid(-80, (-25, -15, 0), (8, 20, 50))]
    clean = simulate(body(*shapes), views=180)
    rng = np.random.default_rng(0)
    bins = clean.samples.shape[1]
    gain = np.where(rng.random(bins) < 0.1, rng.normal(0, 0.1, bins), 0)
    striped = clean.with_samples((clean.samples + gain).astype(np.float32))
    inside = np.hypot(Y, X) < 25
    truth = fbp(clean)
    before = rmse(fbp(striped), truth.data, inside)
    after = rmse(fbp(remove_rings(striped, method=method)), truth.data, inside)
    assert before > 30
    assert after < left * before
    harm = rmse(fbp(remove_rings(clean, method=method)), truth.data, inside)
    assert harm < 0.3 * before


def test_partial_rings_need_sorting():
    clean = simulate(body(), views=180)
    striped = np.array(clean.samples)
    for b in (60, 66, 73, 80, 85):
        striped[40:110, b] += 0.2
    striped = clean.with_samples(striped)
    inside = np.hypot(Y, X) < 30
    truth = fbp(clean).data
    before = rmse(fbp(striped), truth, inside)
    assert rmse(fbp(remove_rings(striped, method="sorting")), truth, inside) < 0.5 * before


def stripes(shape, rng):
    """Every element a little off, some much, some bands of four, some for a third of the views."""
    views, bins = shape
    out = np.tile(rng.normal(0, 0.01, bins) + (rng.random(bins) < 0.1) * rng.normal(0, 0.05, bins),
                  (views, 1))  # fmt: skip
    for c in rng.integers(20, bins - 20, 8):
        out[:, c : c + 4] += rng.normal(0, 0.05)
    for c in rng.integers(20, bins - 20, 12):
        start = rng.integers(0, views // 2)
        out[start : start + views // 3, c] += rng.normal(0, 0.1)
    return out


def test_the_default_removes_rings_and_spares_clean_data():
    clean = simulate(thorax_ct(thorax_grid((1, 256, 256), (3.0, 1.5, 1.5))), views=360, seed=1)
    inside = np.hypot(*(np.mgrid[:256, :256] - 127.5)) < 118
    truth = fbp(clean).data[0]
    off = stripes(clean.samples.shape, np.random.default_rng(0))
    striped = clean.with_samples((clean.samples + off).astype(np.float32))
    before = np.sqrt(np.mean((fbp(striped).data[0] - truth)[inside] ** 2))
    after = np.sqrt(np.mean((fbp(remove_rings(striped)).data[0] - truth)[inside] ** 2))
    harm = np.sqrt(np.mean((fbp(remove_rings(clean)).data[0] - truth)[inside] ** 2))
    assert before > 40
    assert after < 0.6 * before
    assert harm < 6


def ring_strength(image):
    """What is narrow in radius and constant over an eighth of a turn, root mean square."""
    n = image.shape[0]
    r, t = np.ogrid[8 : 0.46 * n, 0 : 2 * np.pi : 1440j]
    places = [(n - 1) / 2 + r * np.sin(t), (n - 1) / 2 + r * np.cos(t)]
    sectors = map_coordinates(image, places, order=1).reshape(r.size, 8, -1).mean(axis=-1)
    return np.sqrt(np.mean((sectors - median_filter(sectors, (9, 1))) ** 2))


@pytest.mark.data
def test_the_default_removes_rings_of_a_synchrotron_scan(data):
    path = data / "tomobar_data" / "RealDataDend.mat"
    if not path.is_file():
        pytest.skip("the synchrotron sinogram is not among the development data")
    from scipy.io import loadmat

    raw = loadmat(path)
    lines = np.ascontiguousarray(raw["sinoRD"].T, np.float32)
    side, bins = 480, lines.shape[1]
    edge = -(side - 1) / 2 * bins / side
    grid = Grid.from_spacing((1, side, side), (1, bins / side, bins / side), origin=(edge, edge, 0))
    scan = ParallelScan(grid=grid, angles=raw["anglesRad"].ravel(), bins=bins, spacing=1.0)
    given = centre(Acquisition(lines, scan, "CT"))
    before, after = (
        ring_strength(fbp(a, unit="1/mm", kernel="hann").data[0])
        for a in (given, remove_rings(given))
    )
    assert after < 0.65 * before


# Beam hardening


def test_tables_invert_the_spectrum():
    paths = {"water": np.linspace(0, 9, 50), "bone": np.zeros(50)}
    measured = -np.log(transmitted(paths, 120, reference=70)[0])
    np.testing.assert_allclose(harden_water(measured, 120), paths["water"], atol=2e-3)
    rng = np.random.default_rng(0)
    paths = {"water": rng.uniform(0, 6, 200), "bone": rng.uniform(0, 3, 200)}
    measured = -np.log(transmitted(paths, 120, reference=70)[0])
    total = harden_two(measured, paths["bone"], 120)
    np.testing.assert_allclose(total, paths["water"] + paths["bone"], atol=2e-2)


def test_cupping_goes():
    scanned = simulate(body(), views=120, kvp=100)
    hollow = fbp(scanned, kernel="hann").data[0]
    made = fbp(beam_hardening(scanned), kernel="hann").data[0]
    radius = np.hypot(Y, X)
    middle, rim = radius < 8, (radius > 26) & (radius < 31)
    assert hollow[rim].mean() - hollow[middle].mean() > 15
    assert abs(made[rim].mean() - made[middle].mean()) < 6
    assert abs(made[radius < 31].mean()) < 6


def test_dark_band_between_bones_goes():
    bones = [Ellipsoid(1000, (x, 0, 0), (12, 12, 50)) for x in (-40, 40)]
    scanned = simulate(body(*bones), views=120, kvp=100)
    between = (np.abs(Y) < 3) & (np.abs(X) < 8)
    beside = (np.abs(np.abs(Y) - 22) < 3) & (np.abs(X) < 8)

    def band(image):
        return abs(float(image.data[0][between].mean() - image.data[0][beside].mean()))

    water = fbp(beam_hardening(scanned), kernel="hann")
    both = fbp(beam_hardening(scanned, model="water and bone"), kernel="hann")
    assert band(water) > 15
    assert band(both) < 0.4 * band(water)
    assert abs(float(both.data[0][between].mean())) < 12


def test_hardening_refusals():
    scanned = simulate(body(), views=10)
    with pytest.raises(ParameterError, match="KVP"):
        beam_hardening(scanned)
    with pytest.raises(ParameterError, match="beyond 14"):
        beam_hardening(scanned.with_samples(scanned.samples + 20), kvp=120)


# Metal


@pytest.fixture(scope="module")
def with_metal():
    shapes = [
        Ellipsoid(800, (0, 45, 0), (14, 10, 50)),
        Ellipsoid(60, (0, 0, 0), (18, 18, 50)),
    ]
    implants = [Ellipsoid(9000, (x, -15, 0), (5, 5, 50)) for x in (-35, 35)]
    truth = body(*shapes)
    scanned = simulate(body(*shapes, *implants), views=180, kvp=140, photons=2e5, seed=3)
    return truth, beam_hardening(scanned)


def test_metal_streaks_go(with_metal):
    truth, scanned = with_metal
    between = (np.abs(Y + 7.5) < 4) & (np.abs(X) < 11)  # of the two implants
    beside = np.hypot((Y - 22.5) / 7, X / 9) < 1.6  # the bone, whose edge must survive

    def errors(acquisition):
        image = fbp(acquisition, kernel="hann")
        return rmse(image, truth.data, between), rmse(image, truth.data, beside)

    before = errors(scanned)
    linear = errors(metal(scanned, method="linear"))
    normalised = errors(metal(scanned, method="normalised"))
    assert linear[0] < 0.5 * before[0]
    assert normalised[0] < 0.5 * before[0]
    assert normalised[1] < 0.9 * linear[1]
    made = metal(scanned)
    assert made.calibration["metal"].sum() == pytest.approx(2 * np.pi * 2.5**2, rel=0.5)


def test_metal_streaks_go_from_slices_alone(with_metal):
    truth, scanned = with_metal
    seen = fbp(scanned, kernel="hann")
    between = (np.abs(Y + 7.5) < 4) & (np.abs(X) < 11)
    implants = (np.hypot(Y + 7.5, np.abs(X) - 17.5) < 4)[None]
    soft = (np.hypot(Y, X) < 33)[None] & ~implants
    raw = fbp(metal(scanned), kernel="hann")
    found = reduce_metal(seen)
    # The slices hold all that the sinogram did, less what lay outside of them: no more than
    # a quarter of the improvement is lost.
    for where in (between, soft[0]):
        before, best = (rmse(i, truth.data, where) for i in (seen, raw))
        assert rmse(found, truth.data, where) < best + 0.25 * (before - best)
    assert rmse(found, truth.data, between) < 0.5 * rmse(seen, truth.data, between)
    bright = seen.data > 2500
    assert np.array_equal(found.data[bright], seen.data[bright])


def test_slices_without_metal_and_missing_values_stay(with_metal):
    truth, scanned = with_metal
    seen = fbp(scanned, kernel="hann").data[0]
    both = np.stack([seen, truth.data[0]])
    both[0, 3, 4], both[1, 5, 6] = np.nan, np.inf
    grid = Grid.from_spacing((2, N, N), (3, 2, 2))
    found = reduce_metal(Image(both, grid, "CT", "[hnsf'U]"), method="linear").data
    assert np.array_equal(found[1, 8:], both[1, 8:])
    assert np.array_equal(np.isnan(found), np.isnan(both))
    assert not np.array_equal(found[0], both[0], equal_nan=True)
    with pytest.raises(UnitError, match="takes CT slices"):
        reduce_metal(Image(both, grid, "CT", "1"))
    with pytest.raises(ParameterError, match="higher threshold"):
        reduce_metal(body(value=1500.0), threshold=500.0)


def test_padding_below_air_changes_nothing(with_metal):
    seen = fbp(with_metal[1], kernel="hann")
    outside = (np.hypot(Y, X) > 45)[None]
    air, padded = (seen.with_data(np.where(outside, v, seen.data)) for v in (-1000.0, -3024.0))
    found, expected = reduce_metal(padded).data, reduce_metal(air).data
    np.testing.assert_allclose(found[~outside], expected[~outside], atol=0.05)


def test_metal_pieces_and_refusals(with_metal):
    row = np.zeros((2, 9), bool)
    row[0, 4] = True
    np.testing.assert_array_equal(np.flatnonzero(spread(row, 2)[0]), [2, 3, 4, 5, 6])
    mu = np.full((1, 40, 40), WATER, np.float32)
    mu[:, :15] = 0
    mu[:, 30:] *= 2
    prior = prior_image(mu, WATER, np.zeros(mu.shape, bool), tissue=-500, bone=350)
    np.testing.assert_allclose(prior[0, [3, 22, 37], 5], [0, WATER, 2 * WATER], rtol=1e-6)
    with pytest.raises(ParameterError, match="there is no metal"):
        metal(simulate(body(), views=60))
    with pytest.raises(ParameterError, match="higher threshold"):
        metal(simulate(body(value=1500.0), views=60), threshold=500.0)


# Scatter


def test_scatter_is_taken_away():
    clean = simulate(body(Ellipsoid(300, (20, 0, 0), (10, 10, 50))), views=90)
    primary = np.exp(-clean.samples)
    spacing = clean.operator.spacing
    cloud = scattered(primary, amplitude=0.15, sigma=(40 / spacing,))
    hazy = clean.with_samples(-np.log(primary + cloud))
    inside = np.hypot(Y, X) < 31
    truth = fbp(clean, kernel="hann").data
    before = rmse(fbp(hazy, kernel="hann"), truth, inside)
    exact = fbp(scatter(hazy, amplitude=0.15, width=40.0), kernel="hann")
    assert rmse(exact, truth, inside) < 0.05 * before
    # A kernel and an amplitude that are a third off still help.
    rough = fbp(scatter(hazy, amplitude=0.11, width=60.0), kernel="hann")
    assert rmse(rough, truth, inside) < 0.55 * before


# Truncation


def test_cylinder_tail_is_exact_for_water():
    s = np.arange(0, 80.0)
    chord = 2 * WATER * np.sqrt(np.maximum(70.0**2 - s**2, 0))
    slope = -4 * WATER**2 * 40 / chord[40]
    tail = cylinder_tail(chord[40:41], np.array([slope]), spacing=1.0, water=WATER, bins=39)
    np.testing.assert_allclose(tail[0], chord[41:80], atol=1e-9)


@pytest.mark.parametrize("method", ["cylinder", "cosine"])
def test_truncation_rim_goes(method):
    whole = body(Ellipsoid(100, (10, 5, 0), (12, 12, 50)), Ellipsoid(-100, (-15, 0, 0), (8, 8, 50)))
    cut = simulate(whole, views=180, bins=44)  # sees a radius of 44 mm of 70
    inside = np.hypot(Y, X) * 2 < 40
    before = rmse(fbp(cut), whole.data, inside)
    longer = extend(cut, method=method)
    assert longer.operator.bins == 88
    after = rmse(fbp(longer), whole.data, inside)
    assert before > 150
    assert after < (0.25 if method == "cylinder" else 0.5) * before


def test_extend_keeps_what_was_measured():
    cut = simulate(body(), views=20, bins=44)
    longer = extend(cut, margin=0.25)
    np.testing.assert_array_equal(longer.samples[:, 11:-11], cut.samples)
    assert isinstance(longer.operator, ParallelScan)


def test_operations_keep_their_contract(plain, with_metal):
    raw, flat, dark = counts(plain)
    check_operation(
        normalise.operation,
        inputs=(Acquisition(raw, plain.operator, "CT", "{counts}", {"flat": flat, "dark": dark}),),
    )
    for one in (centre, remove_rings, extend, scatter):
        check_operation(one.operation, inputs=(plain,))
    check_operation(beam_hardening.operation, inputs=(plain,), params={"kvp": 100.0})
    check_operation(metal.operation, inputs=(with_metal[1],))
    check_operation(reduce_metal.operation, inputs=(fbp(with_metal[1], kernel="hann"),))


@pytest.mark.parametrize("one", [remove_rings, beam_hardening, metal, scatter, extend, centre])
def test_counts_and_nan_are_refused(one, plain):
    with pytest.raises(UnitError, match="counts"):
        one(plain.with_samples(plain.samples, unit="{counts}"))
    broken = np.array(plain.samples)
    broken[0, 0] = np.nan
    with pytest.raises(UnitError, match="not finite"):
        one(plain.with_samples(broken))
