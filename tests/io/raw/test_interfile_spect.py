"""SPECT projections in Interfile: a written header is read as the scan it describes."""

import os
from pathlib import Path

import numpy as np
import pytest

from somascope.acquire.spect.orbit import circular
from somascope.acquire.spect.osem import osem
from somascope.acquire.spect.parallel import ParallelScan
from somascope.core import Acquisition, Grid
from somascope.core.errors import CorruptFile
from somascope.io.raw.interfile import read

SHARED = Path(
    os.environ.get("SOMASCOPE_SHARED_DATA")
    or Path(__file__).resolve().parents[3].parent / "shared" / "data"
)
SPECTUB = SHARED / "stir_emission" / "recon_test_pack" / "SPECT" / "SPECTUB" / "input.hs"

HEADER = """!INTERFILE  :=
!imaging modality := nucmed
name of data file := scan.s
imagedata byte order := LITTLEENDIAN
!number format := float
!number of bytes per pixel := 4
patient orientation := head_in
patient rotation :=  supine
!matrix size [2] := 8
!scaling factor (mm/pixel) [2] := 5
!matrix size [1] := 24
!scaling factor (mm/pixel) [1] := 5
!number of projections := 16
!extent of rotation := 360
!process status := acquired
!direction of rotation := CW
start angle := 180
orbit := circular
radius := 90
!END OF INTERFILE :=
"""


def written(folder, header=HEADER):
    grid = Grid.from_spacing((8, 24, 24), (5, 5, 5), origin=(-57.5, -57.5, -17.5))
    scan = ParallelScan(
        grid=grid, angles=circular(16, clockwise=True), radius=90.0, columns=24, resolution=False
    )
    x = np.zeros(grid.shape, np.float32)
    x[6, 8, 17] = 1e7
    (folder / "scan.s").write_bytes(np.maximum(scan.forward(x), 0).astype("<f4").tobytes())
    path = folder / "scan.hs"
    path.write_text(header)
    return path


def test_the_header_makes_the_scan(tmp_path):
    found = read(written(tmp_path))
    assert isinstance(found, Acquisition)
    assert found.operator.kind == "spect.parallel"
    assert found.attributes["PatientPosition"] == "HFS"
    image = osem(found, iterations=8, subsets=4)
    assert np.unravel_index(np.argmax(image.data), image.shape) == (6, 8, 17)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("radius := 90", ""), "radius"),
        (("[1] := 24", "[1] := 240"), "bytes"),
        (("[1] := 24", "[1] := none"), "none"),
        (("projections := 16", "projections := 0"), "0 views"),
    ],
)
def test_headers_that_lie_are_refused(tmp_path, change, message):
    path = written(tmp_path, HEADER.replace(*change))
    with pytest.raises(CorruptFile, match=message):
        read(path)


@pytest.mark.data
@pytest.mark.skipif(not SPECTUB.exists(), reason="the shared STIR data is not here")
def test_a_simulated_jaszczak_phantom_shows_its_cold_spheres():
    found = read(SPECTUB)
    assert isinstance(found, Acquisition)
    assert found.samples.shape == (120, 64, 128)
    few = found.operator.with_changes(views=np.arange(0, 120, 4))
    small = found.with_samples(found.samples[::4], operator=few)
    image = osem(small, iterations=2, subsets=5).data
    inside = image[16:24].mean(axis=0)
    y, x = np.mgrid[-63.5:64, -63.5:64] * 3.32
    radius = np.hypot(x, y)
    whole = inside[radius < 80].mean()
    assert whole > 50 * inside[(radius > 125) & (radius < 145)].mean()
    ring = inside[(radius > 40) & (radius < 75)]
    assert ring.min() < 0.5 * whole, "the largest cold rod"
