"""The phantoms: published numbers, known places, left and right, the same on every run."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest
from scipy import special
from skimage.data import shepp_logan_phantom

from somascope import phantoms
from somascope.core import Image
from somascope.phantoms import thorax
from somascope.phantoms.brain import CSF, GREY, LESION, WHITE
from somascope.phantoms.ultrasound import cavity_radius

SMALL = phantoms.thorax_grid((32, 64, 64), (10.0, 6.0, 6.0))


def at(image: Image, lps: tuple[float, float, float]) -> float:
    z, y, x = np.rint(image.grid.to_index(lps)).astype(int)
    return float(image.data[z, y, x])


def test_shepp_logan_agrees_with_another() -> None:
    """scikit-image packages a 400 x 400 picture of the modified phantom."""
    ours = phantoms.shepp_logan((400, 400)).data[0]
    other = shepp_logan_phantom()
    assert ours.shape == other.shape
    assert (np.abs(ours - other) > 0.02).mean() < 0.02


def test_shepp_logan_original_values() -> None:
    image = phantoms.shepp_logan((64, 128, 128), contrast="original")
    assert at(image, (0, 0, 30)) == pytest.approx(1.02, abs=1e-6)
    assert float(image.data.max()) == pytest.approx(2.0)
    assert float(image.data.min()) == 0


def test_the_plane_is_the_cut_of_its_shapes() -> None:
    """Radon data of the shapes are projections of the picture."""
    image = phantoms.shepp_logan((512, 512))
    shapes = phantoms.shepp_logan_shapes(flat=True)
    p = phantoms.ellipse_radon(
        shapes, np.zeros(512), image.grid.to_world([(0, 0, i) for i in range(512)])[:, 0]
    )
    numeric = image.data[0].sum(axis=0) * image.grid.spacing[1]
    assert np.abs(p - numeric).max() < 0.02 * p.max()


def test_thorax_has_what_it_says_where_it_says() -> None:
    ct = phantoms.thorax_ct(phantoms.thorax_grid((64, 128, 128), (5, 3, 3)), noise_hu=0)
    assert (ct.modality, ct.unit, ct.data.dtype) == ("CT", "[hnsf'U]", np.int16)
    assert at(ct, (-52, -8, -112)) == 58  # liver on the right
    assert at(ct, (90, 0, 20)) == -860  # left lung
    assert at(ct, (40, -38, -20)) == 150  # the heart's blood points left
    assert at(ct, (0, 66, -23)) == 190  # vertebra at the back
    assert at(ct, (-88, -14, 74)) == 40  # nodule in the right lung
    assert at(ct, (181, -12, 60)) == 2000  # the bead on the left
    assert at(ct, (-181, -12, 60)) < 2000
    assert ct.data[0, 0, 0] == -1000


def test_mask_and_ct_agree() -> None:
    ct, mask = phantoms.thorax_ct(SMALL, noise_hu=0), phantoms.thorax_mask(SMALL)
    assert {s.number for s in mask.segments} >= set(np.unique(mask.data)) - {0}
    assert set(ct.data[mask.data == thorax.LIVER]) == {58, 110}
    assert set(ct.data[mask.data == 0]) == {-1000}
    left = SMALL.to_world(np.argwhere(mask.data == thorax.LEFT_LUNG))[:, 0]
    right = SMALL.to_world(np.argwhere(mask.data == thorax.RIGHT_LUNG))[:, 0]
    assert left.min() > 0 > right.max()


def test_pet_lies_in_the_ct() -> None:
    ct, pet = phantoms.thorax_ct(SMALL), phantoms.thorax_pet()
    assert ct.grid.frame_of_reference == pet.grid.frame_of_reference != ""
    assert ct.attributes["StudyInstanceUID"] == pet.attributes["StudyInstanceUID"]
    assert ct.attributes["SeriesInstanceUID"] != pet.attributes["SeriesInstanceUID"]
    assert pet.unit == "Bq/ml"
    assert at(pet, (-84, 4, -104)) > 2.5 * at(pet, (-30, 10, -112))
    assert at(pet, (-88, -14, 74)) > 10 * at(pet, (70, 0, 60))
    liver = pet.data[phantoms.thorax_mask(pet.grid).data == thorax.LIVER]
    assert np.median(liver) == pytest.approx(6500, rel=0.05)


def test_noise_has_its_seed_and_its_size() -> None:
    first, again, other = (phantoms.thorax_ct(SMALL, seed=s) for s in (1, 1, 2))
    assert np.array_equal(first.data, again.data)
    assert not np.array_equal(first.data, other.data)
    inside = phantoms.thorax_mask(SMALL).data == thorax.LIVER
    difference = (first.data.astype(float) - other.data)[inside]
    assert difference.std() == pytest.approx(14 * np.sqrt(2), rel=0.1)


def test_radiograph_is_the_line_integral() -> None:
    image = phantoms.thorax_dx((64, 64), noise=0)
    assert image.grid.orientation[1:] == "IL"
    # Straight through the middle there is 244 mm of body, spine and heart; beside it is air.
    assert image.data[0, 32, 0] < 300
    lung, heart = (image.data[0][tuple(np.rint(image.grid.to_index(p)).astype(int)[1:])]
                   for p in ((-95.0, -190.0, 60.0), (45.0, -190.0, -15.0)))  # fmt: skip
    assert heart > lung
    other = image.data[0][
        tuple(np.rint(image.grid.to_index((-60.0, -190.0, -15.0))).astype(int)[1:])
    ]
    assert heart > other


def test_brain_contrasts() -> None:
    grid = phantoms.brain_grid((30, 80, 64), (5.6, 2.6, 2.6))
    labels = phantoms.brain_mask(grid).data
    t1, t2, flair = (phantoms.brain_mr(w, grid, noise=0, bias=0) for w in ("T1", "T2", "FLAIR"))

    def mean(image: Image, tissue: int) -> float:
        return float(image.data[labels == tissue].mean())

    assert mean(t1, WHITE) > mean(t1, GREY) > mean(t1, CSF)
    assert mean(t2, CSF) > mean(t2, GREY) > mean(t2, WHITE)
    assert mean(flair, LESION) > mean(flair, GREY) > mean(flair, CSF)
    # Spin echo, by hand: PD (1 - exp(-TR/T1)) exp(-TE/T2).
    ratio = 0.72 * (1 - np.exp(-500 / 620)) * np.exp(-11 / 80)
    ratio /= 0.86 * (1 - np.exp(-500 / 950)) * np.exp(-11 / 98)
    assert mean(t1, WHITE) / mean(t1, GREY) == pytest.approx(ratio, rel=1e-3)
    lesion = grid.to_world(np.argwhere(labels == LESION))
    assert lesion[:, 0].min() > 0
    assert t1.attributes["EchoTime"] == 11


def test_hot_spheres_recover_by_their_size() -> None:
    """The centre of a ball of radius R behind a Gaussian: erf(u) - 2 u exp(-u^2) / sqrt(pi)."""
    pet = phantoms.nema_pet((31, 190, 190), (1.5, 1.5, 1.5), scale=0, fwhm_mm=9.0)
    values = []
    for i, diameter in enumerate((10, 13, 17, 22, 28, 37)):
        a = np.deg2rad(60 * i)
        values.append(at(pet, (57.2 * np.cos(a), 57.2 * np.sin(a), 0)))
        u = diameter / 2 / (9.0 / 2.3548) / np.sqrt(2)
        recovered = special.erf(u) - 2 * u * np.exp(-u * u) / np.sqrt(np.pi)
        assert values[-1] == pytest.approx(5300 * (1 + 3 * recovered), rel=0.06), diameter
    assert values == sorted(values)
    assert at(pet, (0, 0, 0)) < 300
    assert at(pet, (120, 0, 0)) == pytest.approx(5300, rel=0.02)


def test_the_heart_beats() -> None:
    cine = phantoms.heart_us(frames=12, size=128, rate_hz=12)
    assert cine.axis_names == ("t", "z", "y", "x")
    assert cine.axes[0].values[1] == pytest.approx(1 / 12)
    y, x = np.mgrid[:128, :128] * 1.25
    r = np.hypot(x - 80 - 4, y - 82)
    for k in (0, 6):
        inner = cavity_radius(k / 12)
        frame = cine.data[k, 0].astype(float)
        assert frame[r < inner - 4].mean() < 0.6 * frame[(r > inner + 4) & (r < 42)].mean()
    assert cavity_radius(0) == 30
    assert cavity_radius(0.5) == 19


@pytest.mark.parametrize(
    "make",
    [
        phantoms.thorax_pet,
        phantoms.thorax_dx,
        phantoms.nema_pet,
        phantoms.heart_us,
        phantoms.shepp_logan,
    ],
)
def test_facts_are_fixed(make: Callable[[], Image]) -> None:
    a, b = make(), make()
    assert np.array_equal(a.data, b.data)
    assert a.attributes == b.attributes
    assert a.provenance.sources[0].kind == "phantom"
    assert str(a.attributes["PatientName"]).startswith("Phantom^")
    assert len(str(a.attributes["StudyInstanceUID"])) <= 64


def test_the_thorax_takes_little_time() -> None:
    phantoms.thorax_ct(SMALL)
    start = time.process_time()
    phantoms.thorax_ct()
    assert time.process_time() - start < 6  # 0.8 s on two free cores
