"""Interfile 3.3 as STIR and others write it for PET: images (``.hv``) and sinograms (``.hs``).

Cradduck, Bailey, Hutton et al., Nucl Med Commun 10:703 (1989); keys of PET as STIR's documentation
lists them. The header is text; the values lie in a file beside it. STIR's axes are x to the right
and y down as one faces the scanner from the bed, and z out along the bed: for a patient head first
and supine that is L, P and I (towards the feet).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from somascope.core.acquisition import Acquisition
from somascope.core.errors import CorruptFile, UnsupportedFormat
from somascope.core.grid import Array, Grid
from somascope.core.image import Axis, Image
from somascope.core.provenance import Provenance, Source
from somascope.io.raw import interfile_pet, interfile_spect

Header = Mapping[str, str]
_MOST = 1 << 20
"""Bytes of the longest header."""
_SIGNS = {"hfs": (1, 1, -1), "hfp": (-1, -1, -1), "ffs": (-1, 1, 1), "ffp": (1, -1, 1)}
"""L, P, S per STIR's x, y, z and patient position."""


class InterfileReader:
    """Interfile headers with their data file (a `somascope.io.read.Reader`)."""

    def matches(self, head: bytes, path: Path) -> bool:  # noqa: ARG002
        """Whether the text begins with ``!INTERFILE``."""
        return bool(re.match(rb"\s*!?\s*interfile\s*:?=", head[:200], re.IGNORECASE))

    def read(self, path: Path) -> list[Image | Acquisition]:
        """The image or sinogram the header describes."""
        return [read(path)]


READER = InterfileReader()


def header(text: str) -> dict[str, str]:
    """Keys in lower case, without ``!``, with single blanks; values as they stand.

    Raises
    ------
    UnsupportedFormat
        No Interfile.
    """
    found: dict[str, str] = {}
    for line in text.splitlines():
        content = line.split(";", 1)[0]
        if ":=" not in content:
            continue
        key, value = content.split(":=", 1)
        key = re.sub(r"\s+", " ", key.strip().lstrip("!").strip().lower())
        key = re.sub(r"\s*\[\s*(\d+)\s*\]", r"[\1]", key)
        found.setdefault(key, value.strip())
    if "interfile" not in found:
        raise UnsupportedFormat("the text does not begin with !INTERFILE")
    return found


def read(path: str | Path) -> Image | Acquisition:
    """The image or PET acquisition of a header and its data file in the same folder.

    Raises
    ------
    CorruptFile
        Values that are no numbers, or a data file that is missing or too short.
    UnsupportedFormat
        Another study (SPECT projections), arc-corrected or time-of-flight sinograms, an unknown
        patient position.
    """
    path = Path(path)
    if path.stat().st_size > _MOST:
        raise UnsupportedFormat(f"{path.name} is larger than an Interfile header")
    keys = header(path.read_bytes().decode("latin-1"))
    try:
        kind = keys.get("pet data type", "").lower()
        if kind == "image" or (not kind and _is_image(keys)):
            return _image(keys, path)
        if "matrix axis label[4]" in keys and "segment" in _labels(keys):
            return interfile_pet.acquisition(keys, values_of, path, provenance(path))
        if interfile_spect.is_projections(keys):
            return interfile_spect.acquisition(keys, values_of, path, provenance(path), facts(keys))
    except (ValueError, KeyError, OverflowError) as error:
        raise CorruptFile(f"{path.name}: {error or type(error).__name__}") from error
    what = keys.get("type of data", "unknown")
    raise UnsupportedFormat(
        f"{path.name} is Interfile of type {what!r}; PET images and PET sinograms are read"
    )


def _labels(keys: Header) -> list[str]:
    return [keys.get(f"matrix axis label[{k}]", "").lower() for k in range(1, 6)]


def _is_image(keys: Header) -> bool:
    done = keys.get("process status", "").lower() == "reconstructed"
    return done or _labels(keys)[:3] == ["x", "y", "z"]


def provenance(path: Path) -> Provenance:
    """The source: the header's name."""
    return Provenance((Source("raw", path.name),))


def values_of(keys: Header, path: Path, shape: tuple[int, ...]) -> Array:
    """The data file's numbers in ``shape``.

    Raises
    ------
    CorruptFile
        No such file in the header's folder, or too few bytes in it.
    """
    name = keys.get("name of data file", "")
    if not name or Path(name).name != name:
        raise CorruptFile(f"{path.name}: the data file {name!r} must lie beside the header")
    data = path.with_name(name)
    if not data.is_file():
        raise CorruptFile(f"{path.name}: its data file {name} is missing; put it beside the header")
    dtype = _dtype(keys)
    offset = int(keys.get("data offset in bytes[1]", keys.get("data offset in bytes", 0)) or 0)
    count = int(np.prod(shape, dtype=object))
    if offset < 0 or offset + count * dtype.itemsize > data.stat().st_size:
        raise CorruptFile(
            f"{name} has {data.stat().st_size} bytes; {shape} {dtype} from byte {offset} need "
            f"{offset + count * dtype.itemsize}"
        )
    values = np.fromfile(data, dtype, count, offset=offset).reshape(shape)
    return values.astype(dtype.newbyteorder("="))


def _dtype(keys: Header) -> np.dtype[Any]:
    text = keys.get("number format", "float").lower()
    size = int(keys.get("number of bytes per pixel", 4))
    letter = "f" if "float" in text else "u" if text.startswith("unsigned") else "i"
    if (letter, size) not in {(k, s) for k in "ui" for s in (1, 2, 4)} | {("f", 4), ("f", 8)}:
        raise UnsupportedFormat(f"number format {text!r} of {size} bytes; integers or float")
    order = keys.get("imagedata byte order", "bigendian").lower()
    return np.dtype(("<" if order.startswith("little") else ">") + letter + str(size))


def position(keys: Header) -> str:
    """DICOM patient position in lower case; head first supine where unknown."""
    end = "ff" if "feet" in keys.get("patient orientation", "head_in").lower() else "hf"
    turn = keys.get("patient rotation", "supine").strip().lower()
    if turn not in ("supine", "prone", "", "unknown", "other"):
        raise UnsupportedFormat(f"patient rotation {turn!r}; supine and prone are read")
    return end + ("p" if turn == "prone" else "s")


def facts(keys: Header) -> dict[str, Any]:
    """What the header says of patient and frame, under DICOM keywords."""
    found: dict[str, Any] = {"PatientPosition": position(keys).upper()}
    for key, word in (
        ("originating system", "ManufacturerModelName"), ("patient name", "PatientName"),
        ("patient id", "PatientID"), ("radionuclide name[1]", "Radiopharmaceutical"),
    ):  # fmt: skip
        if keys.get(key):
            found[word] = keys[key]
    seconds = keys.get("image duration (sec)[1]")
    if seconds and float(seconds.strip("{} ")) > 0:
        found["ActualFrameDuration"] = float(seconds.strip("{} ")) * 1e3
    half = keys.get("radionuclide halflife (sec)[1]", keys.get("isotope halflife (sec)[1]"))
    if half and float(half) > 0:
        found["RadiopharmaceuticalInformationSequence"] = [{"RadionuclideHalfLife": float(half)}]
    return found


def _image(keys: Header, path: Path) -> Image:
    nz, ny, nx = (int(keys[f"matrix size[{k}]"]) for k in (3, 2, 1))
    shape = (nz, ny, nx)
    if min(shape) < 1:
        raise CorruptFile(f"{path.name}: matrix size {shape[::-1]} is not positive")
    steps = [float(keys[f"scaling factor (mm/pixel)[{k}]"]) for k in (1, 2, 3)]
    if not all(np.isfinite(steps)) or min(steps) <= 0:
        raise CorruptFile(f"{path.name}: voxels of {steps} mm")
    first = [-(nx // 2) * steps[0], -(ny // 2) * steps[1], 0.0]
    for k in range(3):
        own = keys.get(f"first pixel offset (mm)[{k + 1}]")
        first[k] = float(own) if own else first[k]
    signs = _SIGNS[position(keys)]
    affine = np.eye(4)
    for world, axis in ((0, 2), (1, 1), (2, 0)):  # L from x, P from y, S from z
        affine[:, axis] = 0
        affine[world, axis] = signs[world] * steps[world]
        affine[world, 3] = signs[world] * first[world]
    frames = int(keys.get("number of time frames", 1))
    values = values_of(keys, path, (frames, nz, ny, nx) if frames > 1 else shape)
    factor = float(keys.get("image scaling factor[1]", keys.get("quantification units", 1)) or 1)
    if factor != 1:
        values = values.astype(np.float32) * np.float32(factor)
    modality = "PT" if "pt" in keys.get("imaging modality", "").lower() or (
        "pet" in keys.get("type of data", "").lower()) else "NM"  # fmt: skip
    return Image(
        data=values, grid=Grid(shape, affine), modality=modality, unit="1",
        axes=(Axis("t"),) if frames > 1 else (), provenance=provenance(path),
        attributes=facts(keys),
    )  # fmt: skip
