"""A real CT with a tilted gantry, so sheared slices, is radiographed."""

import numpy as np
import pytest

from somascope.acquire.matter import tissue_densities
from somascope.acquire.xray.present import present
from somascope.acquire.xray.projection import Projection
from somascope.acquire.xray.simulate import simulate
from somascope.acquire.xray.views import radiograph_views
from somascope.io import read_all


@pytest.mark.data
def test_a_head_has_the_same_mass_from_every_side(data):
    folder = data / "qa_dcm_qa_ct"
    if not folder.is_dir():
        pytest.skip("the tilted CT is not among the development data")
    head = read_all([folder]).images[0]
    head = head.crop(start=(0, 0, 0), stop=head.grid.shape, step=(1, 4, 4))
    assert not head.grid.is_orthogonal(tolerance=1e-3)
    density = np.sum(tissue_densities(head.data), axis=0)
    inner = np.zeros_like(density)
    inner[2:-2, 4:-4, 4:-4] = density[2:-2, 4:-4, 4:-4]
    truth = inner.sum() * head.grid.voxel_volume
    masses = []
    for view in ("AP", "PA", "LL", "RLO"):
        near = radiograph_views(head.grid, [view], shape=(150, 150), pitch=2.5)
        centre = head.grid.to_world((np.array(head.grid.shape) - 1) / 2)
        away = near.sources[0] - centre
        # A source far away: parallel rays, whose integrals over the detector sum to the mass.
        far = Projection(**{**near.describe(), "sources": (centre + 500 * away)[None]})
        masses.append(float(far.forward(inner).sum()) * 2.5**2)
    np.testing.assert_allclose(masses, truth, rtol=0.01)
    picture = present(simulate(head, view="RL", rows=64, columns=80, pitch=4.0, mas=1.0, kvp=75.0))
    assert np.percentile(picture.data, 99) > 3000
