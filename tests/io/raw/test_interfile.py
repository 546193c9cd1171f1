"""Interfile as STIR writes it: what is where, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from somascope.acquire.pet.fbp import fbp2d
from somascope.acquire.pet.scanner import Scanner
from somascope.acquire.pet.sinogram import SinogramScan
from somascope.core import Acquisition, Grid, Image
from somascope.core.errors import CorruptFile, ReadError, UnsupportedFormat
from somascope.io.raw import interfile
from somascope.io.read import read
from somascope.phantoms import Ellipsoid, draw

IMAGE = """!INTERFILE  :=
!imaging modality := PT
name of data file := a.v
!GENERAL DATA :=
patient orientation := head_in
patient rotation :=  supine
!GENERAL IMAGE DATA :=
!type of data := PET
imagedata byte order := LITTLEENDIAN
!PET STUDY (General) :=
!PET data type := Image
!number format := float
!number of bytes per pixel := 4
number of dimensions := 3
matrix axis label [1] := x
!matrix size [1] := 5
scaling factor (mm/pixel) [1] := 2
matrix axis label [2] := y
!matrix size [2] := 4
scaling factor (mm/pixel) [2] := 3
matrix axis label [3] := z
!matrix size [3] := 3
scaling factor (mm/pixel) [3] := 4.5
number of time frames := 1
!END OF INTERFILE :=
"""

SINOGRAM = """!INTERFILE  :=
!imaging modality := PT
name of data file := a.s
originating system := Test
!version of keys := STIR3.0
!GENERAL IMAGE DATA :=
!type of data := PET
imagedata byte order := LITTLEENDIAN
!PET STUDY (General) :=
!PET data type := Emission
applied corrections := {{None}}
!number format := float
!number of bytes per pixel := 4
number of dimensions := 4
matrix axis label [4] := segment
!matrix size [4] := 5
matrix axis label [{view}] := view
!matrix size [{view}] := 32
matrix axis label [{axial}] := axial coordinate
!matrix size [{axial}] := {{ 3,4,5,4,3}}
matrix axis label [1] := tangential coordinate
!matrix size [1] := 41
minimum ring difference per segment := {{ -2,-1,0,1,2}}
maximum ring difference per segment := {{ -2,-1,0,1,2}}
Scanner parameters:=
Scanner type := unknown
Number of rings                          := 5
Number of detectors per ring             := 64
Inner ring diameter (cm)                 := 24
Average depth of interaction (cm)        := 0.5
Distance between rings (cm)              := 0.8
Default bin size (cm)                    := 0.5
View offset (degrees)                    := 0
end scanner parameters:=
!END OF INTERFILE :=
"""


def test_an_image_lies_where_stir_puts_it(tmp_path: Path):
    values = np.arange(60, dtype="<f4").reshape(3, 4, 5)
    (tmp_path / "a.hv").write_text(IMAGE)
    (tmp_path / "a.v").write_bytes(values.tobytes())
    image = read(tmp_path / "a.hv")
    assert isinstance(image, Image)
    assert (image.modality, image.unit) == ("PT", "1")
    assert np.array_equal(image.data, values)
    # x to the left, y to the back; z from the first ring out along the bed, towards the feet.
    assert image.grid.orientation == "IPL"
    assert image.grid.spacing == (4.5, 3.0, 2.0)
    assert image.grid.origin == (-4.0, -6.0, 0.0)
    assert image.attributes["PatientPosition"] == "HFS"


@pytest.mark.parametrize(
    ("orientation", "rotation", "letters"),
    [("feet_in", "supine", "SPR"), ("head_in", "prone", "IAR"), ("feet_in", "prone", "SAL")],
)
def test_other_patient_positions(tmp_path: Path, orientation: str, rotation: str, letters: str):
    text = IMAGE.replace("head_in", orientation).replace("supine", rotation)
    (tmp_path / "a.hv").write_text(text)
    (tmp_path / "a.v").write_bytes(bytes(240))
    image = read(tmp_path / "a.hv")
    assert isinstance(image, Image)
    assert image.grid.orientation == letters


def scanned(tmp_path: Path, *, by_view: bool) -> tuple[Acquisition, SinogramScan, np.ndarray]:
    """A point scanned by STIR's rules: its rings counted towards the feet."""
    scanner = Scanner(name="unknown", rings=5, crystals=64, radius=120.0, ring_spacing=8.0,
                      depth=5.0, radial_bins=41)  # fmt: skip
    grid = Grid.from_spacing((9, 41, 41), (4.0, 5.0, 5.0), origin=(-100.0, -100.0, -16.0))
    scan = SinogramScan(grid=grid, scanner=scanner, max_ring_difference=2)
    point = draw([Ellipsoid(100.0, (40.0, -25.0, 8.0), (9, 9, 5))], grid)
    ours = scan.forward(point)
    parts = []
    for difference in (-2, -1, 0, 1, 2):
        # Ring r of STIR is ring 4 - r here.
        pairs = [(r, r + difference) for r in range(5) if 0 <= r + difference < 5]
        part = np.stack([ours[scan.michelogram.table[4 - a, 4 - b]] for a, b in pairs])
        parts.append(part.swapaxes(0, 1) if by_view else part)
    (tmp_path / "a.s").write_bytes(
        np.concatenate([p.astype("<f4").reshape(-1) for p in parts]).tobytes()
    )
    axes = {"view": 3, "axial": 2} if by_view else {"view": 2, "axial": 3}
    (tmp_path / "a.hs").write_text(SINOGRAM.format(**axes))
    found = interfile.read(tmp_path / "a.hs")
    assert isinstance(found, Acquisition)
    return found, scan, point


@pytest.mark.parametrize("by_view", [True, False])
def test_a_sinogram_comes_in_our_order(tmp_path: Path, by_view: bool):
    found, scan, point = scanned(tmp_path, by_view=by_view)
    assert isinstance(found.operator, SinogramScan)
    assert found.operator.range == scan.range
    assert found.samples == pytest.approx(scan.forward(point))
    image = fbp2d(found, window="hann")
    z, y, x = np.unravel_index(np.argmax(image.data), image.grid.shape)
    place = image.grid.to_world([z, y, x])
    assert np.abs(place - [40.0, -25.0, 8.0]).max() < 5.0


@pytest.mark.parametrize(
    ("old", "new", "error", "words"),
    [
        ("{None}", "{arc correction}", UnsupportedFormat, "arc corrected"),
        ("(degrees)                    := 0", "(degrees) := 3", UnsupportedFormat, "view offset"),
        ("Number of rings                          := 5", "", UnsupportedFormat, "rings"),
        ("{ 3,4,5,4,3}", "{ 2,4,5,4,2}", UnsupportedFormat, "planes"),
        ("a.s", "../a.s", CorruptFile, "beside the header"),
        ("a.s", "none.s", CorruptFile, "missing"),
        ("!matrix size [1] := 41", "!matrix size [1] := 63", CorruptFile, "bytes"),
        ("!matrix size [1] := 41", "!matrix size [1] := many", CorruptFile, "many"),
        ("number of bytes per pixel := 4", "number of bytes per pixel := 3", ReadError, "format"),
        ("originating", "patient rotation := prone\noriginating", UnsupportedFormat, "HFP"),
        ("matrix axis label [4] := segment", "", UnsupportedFormat, "PET images"),
    ],
)
def test_refusals(tmp_path: Path, old: str, new: str, error: type[Exception], words: str):
    (tmp_path / "a.s").write_bytes(bytes(4 * 19 * 32 * 41))
    text = SINOGRAM.format(view=2, axial=3)
    assert old in text
    (tmp_path / "a.hs").write_text(text.replace(old, new))
    with pytest.raises(error, match=words):
        interfile.read(tmp_path / "a.hs")


def test_a_short_data_file(tmp_path: Path):
    (tmp_path / "a.hv").write_text(IMAGE)
    (tmp_path / "a.v").write_bytes(bytes(239))
    with pytest.raises(CorruptFile, match="239 bytes"):
        interfile.read(tmp_path / "a.hv")


@pytest.mark.data
def test_headers_of_stir(shared_stir: Path):
    """The stored copy has these headers without their data: the geometry is read, then refused."""
    for name in ("attMapRec.hv", "org/FBP.hv"):
        keys = interfile.header((shared_stir / name).read_text())
        assert keys["matrix size[3]"] == "64"
        with pytest.raises(CorruptFile, match="missing"):
            interfile.read(shared_stir / name)


@pytest.fixture
def shared_stir() -> Path:
    import os

    root = Path(os.environ.get("SOMASCOPE_SHARED_DATA", Path(__file__).parents[4] / "shared/data"))
    folder = root / "stir_emission/recon_test_pack/SPECT/SPECTUB"
    if not folder.is_dir():
        pytest.skip(f"no shared development data at {root}")
    return folder
