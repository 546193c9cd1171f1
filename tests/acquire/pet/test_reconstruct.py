"""Reconstructions of a known body: activity, convergence, prior, lists, promises, bad input."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from somascope.acquire.pet.bsrem import bsrem, ordered_gradients, strength
from somascope.acquire.pet.events import bins_of, crystals_of, histogram, list_events
from somascope.acquire.pet.fbp import fbp2d
from somascope.acquire.pet.listmode import ListModeScan
from somascope.acquire.pet.listmode_osem import listmode_osem, listmode_osem_file
from somascope.acquire.pet.michelogram import Michelogram
from somascope.acquire.pet.osem import mlem, osem
from somascope.acquire.pet.rebin import ssrb
from somascope.acquire.pet.scanner import TINY
from somascope.acquire.pet.simulate import simulate
from somascope.acquire.pet.sinogram import SinogramScan
from somascope.acquire.pet.system import prepare, subset_views
from somascope.acquire.relative import RelativeDifference
from somascope.core import Acquisition, Image
from somascope.core.errors import GeometryError, ParameterError, UnitError
from somascope.io import acquisition as files
from somascope.io.dicom import raw as raw_files
from somascope.io.dicom.series import volumes
from somascope.io.dicom.validate import demand
from somascope.jobs.run import encode
from somascope.testing import check_operation
from tests.acquire.pet.cases import BODY as BODY_SHAPE
from tests.acquire.pet.cases import COLD, FLAT, GRID, HOT, activity, exact, mu, quiet, within

BODY = [activity(), mu()]


@pytest.fixture(scope="module")
def scanned() -> Acquisition:
    return simulate(*BODY, scanner="tiny", duration=60.0, randoms=0.3, seed=1)


@pytest.fixture(scope="module")
def resolved() -> Acquisition:
    return simulate(*BODY, scanner="tiny", duration=6.0, tof=True, randoms=0.3, seed=1)


def means(image: Image) -> tuple[float, float, float]:
    """Background, hot rod, cold rod (5000, 20000, 0)."""
    return tuple(float(image.data[m].mean()) for m in (quiet(), within(HOT, 6), within(COLD, 6)))


@pytest.mark.parametrize(
    "reconstruct",
    [
        lambda raw: osem(raw, iterations=6, subsets=4),
        lambda raw: mlem(raw, iterations=25),
        fbp2d,
        lambda raw: osem(ssrb(raw), iterations=6, subsets=4),
        lambda raw: bsrem(raw, iterations=8, subsets=4, beta=0.005),
    ],
    ids=["osem", "mlem", "fbp2d", "ssrb + osem", "bsrem"],
)
def test_activity_is_recovered(scanned: Acquisition, reconstruct):
    image = reconstruct(scanned)
    assert (image.unit, image.modality, image.grid) == ("Bq/ml", "PT", GRID)
    background, hot, cold = means(image)
    assert background == pytest.approx(5000, rel=0.03)
    assert hot == pytest.approx(20000, rel=0.13)  # crystals of 12 mm; a rod of 28
    assert cold < 1500
    assert {"ATTN", "RAN"} <= set(image.attributes["CorrectedImage"])


def test_without_correction_it_is_not(scanned: Acquisition):
    kept = {k: v for k, v in scanned.calibration.items() if k != "attenuation"}
    background, _, _ = means(osem(replace(scanned, calibration=kept), iterations=4, subsets=4))
    assert background < 2500


def test_closed_form_lines_not_our_projector():
    """Exact integrals of the body, attenuated exactly: no projector of ours made the data."""
    scan = SinogramScan(grid=GRID, scanner=FLAT)
    from tests.acquire.pet.cases import ACTIVITY, WATER

    # Painted over each other: what the later shape holds counts.
    survival = np.exp(-0.1 * exact(scan, WATER)).astype(np.float32)
    calibration = {"sensitivity": np.array(1e-3), "attenuation": survival}
    counts = (1e-3 * 10 * exact(scan, ACTIVITY) * survival).astype(np.float32)
    raw = Acquisition(counts, scan, "PT", unit="{counts}", calibration=calibration,
                      attributes={"ActualFrameDuration": 1e4})  # fmt: skip
    for image in (osem(raw, iterations=6, subsets=4), fbp2d(raw)):
        assert means(image)[0] == pytest.approx(5000, rel=0.02)


def test_the_likelihood_rises_to_the_same_image(scanned: Acquisition):
    from somascope.acquire.likelihood import osem as solve

    system = prepare(scanned, operation_name="test")
    found = solve(system.operators, system.counts, iterations=30, background=system.backgrounds)
    assert (np.diff(found.residuals) < 0).all()
    fast = osem(scanned, iterations=8, subsets=4)
    slow = mlem(scanned, iterations=32)
    gap = np.sqrt(np.mean((fast.data - slow.data)[2:-2] ** 2)) / 5000
    assert gap < 0.12


def test_time_of_flight_lowers_the_noise(resolved: Acquisition):
    joined = replace(
        resolved, samples=resolved.samples.sum(axis=0),
        operator=resolved.operator.with_changes(scanner=TINY.without_tof()),  # pyright: ignore
        calibration={**resolved.calibration,
                     "randoms": np.broadcast_to(resolved.calibration["randoms"],
                                                resolved.samples.shape).sum(axis=0)},
    )  # fmt: skip
    # It converges faster: stopped where the cold rod is equally dark, there is less noise.
    images = [osem(resolved, iterations=3, subsets=4), osem(joined, iterations=5, subsets=4)]
    colds = [means(i)[2] for i in images]
    assert colds[0] < colds[1]
    spread = [i.data[quiet()].std() for i in images]
    assert spread[0] < 0.85 * spread[1]
    assert means(images[0])[0] == pytest.approx(5000, rel=0.03)


def test_resolution_is_recovered():
    from somascope.phantoms import Ellipsoid
    from tests.acquire.pet.cases import image

    rod = image([Ellipsoid(5000.0, (0, 0, 0), (60, 60, 200)),
                 Ellipsoid(20000.0, (20, 0, 0), (9, 9, 200))], "Bq/ml")  # fmt: skip
    raw = simulate(rod, scanner="tiny", duration=600.0, resolution=14.0, noise=False)
    inside = within(Ellipsoid(1.0, (20, 0, 0), (9, 9, 200)), 3)
    plain = mlem(raw, iterations=40).data[inside].mean()
    with_psf = mlem(raw, iterations=40, psf=14.0).data[inside].mean()
    assert plain < 14500
    assert abs(with_psf - 20000) < 0.6 * abs(plain - 20000)


def test_penalised_likelihood_goes_to_one_point():
    raw = simulate(*BODY, scanner="tiny", duration=1.0, randoms=0.3, seed=2)
    found = []
    for subsets in (1, 4):
        system = prepare(raw, operation_name="test", subsets=subsets)
        prior = RelativeDifference(system.grid.shape, system.grid.spacing)
        found.append(ordered_gradients(
            system.operators, system.counts, system.backgrounds, prior,
            beta=strength(system, 0.02), iterations=60,
        ))  # fmt: skip
        # The fluctuation of subsets' own deviances aside, the objective falls.
        assert found[-1].residuals[-1] < found[-1].residuals[0]
    assert (np.diff(found[0].residuals) < 1e-6).all()
    middle = within(HOT, -30)
    one, four = (f.x[middle] for f in found)
    assert np.sqrt(np.mean((one - four) ** 2)) < 0.05 * one.mean()


def test_the_prior_lowers_noise_and_keeps_contrast():
    raw = simulate(*BODY, scanner="tiny", duration=2.0, randoms=0.3, seed=3)
    noisy, smooth = osem(raw, iterations=8, subsets=4), bsrem(raw, iterations=20, subsets=4)
    assert smooth.data[quiet()].std() < 0.4 * noisy.data[quiet()].std()
    assert means(smooth)[1] > 16000


def test_events_and_bins_are_the_same_thing(resolved: Acquisition):
    scan = resolved.operator
    assert isinstance(scan, SinogramScan)
    every = np.arange(np.prod(scan.range))
    crystals, tof = crystals_of(scan, every)
    assert np.array_equal(bins_of(scan, crystals, tof), every)
    # The other way round: the ends exchanged, the time of flight turned.
    assert tof is not None
    assert np.array_equal(bins_of(scan, crystals[:, ::-1], TINY.tof_bins - 1 - tof), every)
    events = list_events(resolved)
    assert len(events.samples) == resolved.samples.sum()
    again = histogram(events)
    assert np.array_equal(again.samples, resolved.samples)
    joined = histogram(events, tof=False, span=3)
    assert joined.samples.sum() == resolved.samples.sum()
    assert joined.samples.shape[0] == len(Michelogram(5, span=3))


def test_events_give_the_image_of_their_sinogram(tmp_path: Path):
    resolved = simulate(*BODY, scanner="tiny", duration=0.5, tof=True, randoms=0.2, seed=1)
    events = list_events(resolved)
    listed = listmode_osem(events, iterations=2, subsets=4)
    sorted_ = osem(resolved, iterations=2, subsets=4)
    assert np.corrcoef(listed.data.ravel(), sorted_.data.ravel())[0, 1] > 0.98
    assert means(listed)[0] == pytest.approx(5000, rel=0.05)
    one = listmode_osem(events, iterations=6, subsets=1)
    binned = mlem(resolved, iterations=6)
    body = within(BODY_SHAPE, 0)
    assert one.data[body] == pytest.approx(binned.data[body], rel=5e-3, abs=5.0)  # the same sums
    files.write(events, tmp_path / "events.h5")
    streamed = listmode_osem_file(tmp_path / "events.h5", iterations=2, subsets=4)
    assert np.array_equal(streamed.data, listed.data)
    assert streamed.attributes["ReconstructionMethod"] == listed.attributes["ReconstructionMethod"]


def test_ssrb_keeps_every_count(scanned: Acquisition):
    direct = ssrb(scanned)
    assert direct.samples.shape == (9, 32, 41)
    assert direct.samples.sum() == scanned.samples.sum()
    assert direct.calibration["randoms"].sum() == pytest.approx(
        np.broadcast_to(scanned.calibration["randoms"], scanned.samples.shape).sum(), rel=1e-5
    )
    assert len(ssrb(scanned, max_ring_difference=1).samples) == 9
    assert ssrb(scanned, max_ring_difference=1).samples.sum() < scanned.samples.sum()


@pytest.mark.parametrize("span", [1, 3, 5])
def test_michelogram(span: int):
    planes = Michelogram(7, span=span, max_ring_difference=5)
    assert sum(len(p) for p in planes.pairs) == (planes.table >= 0).sum() == 47
    for p, pairs in enumerate(planes.pairs):
        assert all(planes.table[pair] == p for pair in pairs)
        assert len({a + b for a, b in pairs}) == 1
        assert {abs(b - a - span * planes.segment[p]) <= span // 2 for a, b in pairs} == {True}


def test_subsets_share_all_angles():
    scan = SinogramScan(grid=GRID, scanner=FLAT)
    for count in (1, 3, 4, 8):
        parts = subset_views(scan, count)
        assert sorted(np.concatenate(parts)) == list(range(32))
        assert len(parts) == count
    with pytest.raises(ParameterError, match="subsets of 32 angles"):
        subset_views(scan, 20)


def test_through_dicom(scanned: Acquisition):
    kept = encode(scanned)
    for part in kept:
        demand(part, "raw data")
    again = raw_files.read(kept[0])
    image = osem(again, iterations=2, subsets=4)
    parts = encode(image)
    for part in parts:
        demand(part, "PT")
    images, problems = volumes(parts)
    assert not problems
    assert images[0].unit == "Bq/ml"
    assert images[0].grid.allclose(image.grid)  # left stays left: the hot rod is at L = 32
    assert images[0].data == pytest.approx(image.data, abs=0.6 * float(image.data.max()) / 65535)
    hot = images[0].grid.to_world(np.argwhere(images[0].data > 12000)).mean(axis=0)
    assert hot[0] == pytest.approx(32, abs=3)


def test_promises(scanned: Acquisition, resolved: Acquisition):
    check_operation(
        "acquire.pet.simulate", params={"scanner": "tiny", "duration": 5.0}, inputs=tuple(BODY)
    )
    for name, params in (
        ("osem", {"iterations": 2, "subsets": 2, "psf": 4.0, "post_filter": 4.0, "size": 32}),
        ("mlem", {"iterations": 2, "field_of_view": 160.0}),
        ("fbp2d", {"size": 40}),
        ("bsrem", {"iterations": 2, "subsets": 2}),
        ("ssrb", {}),
    ):
        check_operation(f"acquire.pet.{name}", params=params, inputs=(scanned,))
    events = list_events(simulate(*BODY, scanner="tiny", duration=0.1, tof=True))
    check_operation(
        "acquire.pet.listmode_osem", params={"iterations": 1, "subsets": 2}, inputs=(events,)
    )
    check_operation("acquire.pet.histogram", inputs=(events,))
    few = simulate(*BODY, scanner="tiny", duration=0.1)
    check_operation("acquire.pet.list_events", inputs=(few,))


def test_bad_input_is_refused(scanned: Acquisition):
    counts = np.array(scanned.samples)
    negative = scanned.with_samples(np.where(counts > counts.max() - 1, -1, counts))
    hollow = scanned.with_samples(np.where(counts > counts.max() - 1, np.nan, counts))
    for reconstruct in (osem, fbp2d, bsrem, ssrb):
        with pytest.raises(ParameterError, match="negative"):
            reconstruct(negative)
        with pytest.raises(ParameterError, match="NaN"):
            reconstruct(hollow)
        with pytest.raises(UnitError, match="counts"):
            reconstruct(scanned.with_samples(counts, unit="1"))
    with pytest.raises(GeometryError, match="operator measures"):
        scanned.with_samples(counts[:-1])
    for name, array, error, words in (
        ("attenuation", np.ones((3, 4)), GeometryError, "attenuation"),
        ("randoms", np.full(counts.shape, np.nan), ParameterError, "randoms"),
        ("normalisation", -np.ones(1), ParameterError, "normalisation"),
        ("sensitivity", np.array(0.0), ParameterError, "sensitivity"),
    ):
        broken = replace(scanned, calibration={**scanned.calibration, name: array})
        with pytest.raises(error, match=words):
            osem(broken)
    kept = {k: v for k, v in scanned.attributes.items() if k != "ActualFrameDuration"}
    with pytest.raises(ParameterError, match="ActualFrameDuration"):
        osem(replace(scanned, attributes=kept))
    with pytest.raises(GeometryError, match="takes events"):
        listmode_osem(scanned)
    with pytest.raises(GeometryError, match="sinograms"):
        osem(list_events(simulate(activity(), scanner="tiny", duration=0.02)))


@pytest.mark.parametrize(
    ("crystals", "tof", "words"),
    [
        ([[0, 320]], [0], "outside the scanner"), ([[-1, 3]], [0], "outside the scanner"),
        ([[5, 5]], [0], "itself"), ([[0, 30]], None, "TOF bins"), ([[0, 30]], [9], "TOF bins 9"),
        ([[0.5, 3.0]], [0], "integers"), ([[0, 30]], [0, 1], "one integer"),
    ],
)  # fmt: skip
def test_bad_events_are_refused(crystals: list, tof: list | None, words: str):
    with pytest.raises(GeometryError, match=words):
        ListModeScan(grid=GRID, scanner=TINY, crystals=crystals, tof=tof)


def test_bad_bodies_and_scanners():
    with pytest.raises(UnitError, match="Bq/ml"):
        simulate(mu(), scanner="tiny")
    with pytest.raises(ParameterError, match="negative"):
        simulate(activity().with_data(-activity().data), scanner="tiny")
    with pytest.raises(GeometryError, match="even number"):
        replace(TINY, crystals=63)
    with pytest.raises(GeometryError, match="span"):
        SinogramScan(grid=GRID, scanner=TINY, span=2)
    with pytest.raises(GeometryError, match="mashing"):
        SinogramScan(grid=GRID, scanner=TINY, mashing=5)
