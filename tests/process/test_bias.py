import numpy as np
import pytest
import SimpleITK

from somascope.core import Axis, Grid, Image, Mask, Segment
from somascope.core.errors import GeometryError, ParameterError
from somascope.phantoms import brain_grid, brain_mr
from somascope.process.bias import contracted, cubic, evaluated, n4
from somascope.testing import check_operation


@pytest.fixture(scope="module")
def shaded():
    grid = brain_grid((16, 64, 64), (9.0, 3.6, 3.6))
    clean = np.abs(brain_mr("T1", grid).data).reshape(grid.shape).astype(np.float32)
    z, y, x = (np.linspace(-1, 1, n) for n in grid.shape)
    field = np.exp(0.3 * x + 0.25 * np.cos(2 * y)[:, None] + 0.2 * z[:, None, None] * x)
    return clean, field.astype(np.float32), grid


def uneven(found, clean):
    """Coefficient of variation of what is left of the shading, in tissue."""
    inside = clean > 0.15 * clean.max()
    left = found[inside] / clean[inside]
    return left.std() / left.mean()


def test_splines_add_up_to_one_and_a_plane_is_fitted_exactly():
    for n, spans in ((1, 1), (17, 1), (40, 6)):
        assert np.allclose(cubic(n, spans, of=n).sum(axis=1), 1)
    b = [cubic(n, s, of=n) for n, s in ((5, 1), (9, 2), (12, 4))]
    rng = np.random.default_rng(0)
    volume = rng.normal(size=(5, 9, 12)).astype(np.float32)
    expected = np.einsum("zyx,za,yb,xc->abc", volume, *b)
    assert np.allclose(contracted(volume, tuple(b)), expected, atol=1e-5)
    lattice = rng.normal(size=expected.shape)
    expected = np.einsum("abc,za,yb,xc->zyx", lattice, *b)
    assert np.allclose(evaluated(lattice, tuple(b)), expected, atol=1e-5)


def test_shading_is_found_as_well_as_by_itk(shaded):
    clean, field, grid = shaded
    image = Image(clean * field, grid, "MR")
    found = n4(image, iterations=15)
    before, after = uneven(clean * field, clean), uneven(found.data, clean)
    assert after < 0.65 * before
    theirs = SimpleITK.GetImageFromArray(clean * field)
    theirs.SetSpacing((3.6, 3.6, 9.0))
    peer = SimpleITK.N4BiasFieldCorrectionImageFilter()
    peer.SetMaximumNumberOfIterations([15] * 4)
    corrected = peer.Execute(theirs, SimpleITK.OtsuThreshold(theirs, 0, 1, 200))
    assert after < 1.1 * uneven(SimpleITK.GetArrayFromImage(corrected), clean)


def test_in_a_mask_and_at_any_scale(shaded):
    clean, field, grid = shaded
    mask = Mask(data=(clean > 0.2 * clean.max()).astype(np.uint8), grid=grid,
                segments=(Segment(1, "Head"),))  # fmt: skip
    image = Image(clean * field, grid, "MR")
    one = n4(image, mask)
    assert uneven(one.data, clean) < 0.65 * uneven(image.data, clean)
    big = n4(Image(1000 * clean * field, grid, "MR"), mask)
    assert np.allclose(big.data, 1000 * one.data, rtol=2e-3, atol=1)
    shade = n4(image, mask, output="field")
    assert shade.unit == "1"
    assert shade.data[mask.data > 0].mean() == pytest.approx(1, abs=1e-3)
    assert np.allclose(one.data * shade.data, image.data, rtol=1e-4, atol=1e-4)


def test_an_even_image_stays_even(shaded):
    clean, _, grid = shaded
    # Tissue that itself changes slowly is taken for shading, here as in every N4.
    assert uneven(n4(Image(clean, grid, "MR")).data, clean) < 0.07


def test_operation_and_refusals():
    check_operation(n4, params={"iterations": 2, "levels": 2})
    grid = Grid.from_spacing((1, 8, 8), (1, 1, 1))
    ones = np.ones((1, 8, 8), np.float32)
    assert np.allclose(n4(Image(3 * ones, grid)).data, 3)
    with pytest.raises(ParameterError, match="above 0"):
        n4(Image(-ones, grid))
    with pytest.raises(GeometryError, match="axis 't'"):
        n4(Image(np.stack([ones, ones]), grid, axes=(Axis("t", (0, 1), "s"),)))
    other = Mask(data=ones.astype(np.uint8), grid=Grid.from_spacing((1, 8, 8), (1, 2, 2)),
                 segments=(Segment(1, "a"),))  # fmt: skip
    with pytest.raises(GeometryError, match="another grid"):
        n4(Image(ones, grid), other)
