"""What the demo shows: phantom studies, and real images that ship inside our dependencies."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from somascope.cli.scanned import SCANS, files
from somascope.core.errors import SomascopeError
from somascope.core.image import Image
from somascope.core.progress import QUIET, Progress


class _Archive(Protocol):
    def store(self, part10: bytes, *, origin: str = "") -> Any: ...


@dataclass
class Filled:
    """``stored`` new instances, ``present`` known ones; ``problems`` as (name, reason)."""

    stored: int
    present: int
    problems: list[tuple[str, str]]


# Only files that the packages themselves install; nothing is downloaded.
_DICOM = (
    ("examples_ybr_color.dcm", "Ultrasound cine"),
    ("examples_jpeg2k.dcm", "Ultrasound, JPEG 2000"),
    ("examples_palette.dcm", "Ultrasound, palette"),
    ("J2K_pixelrep_mismatch.dcm", "CT head, JPEG 2000"),
    ("CT_small.dcm", "CT, reduced"),
    ("MR_small.dcm", "MR, reduced"),
    ("examples_overlay.dcm", "MR abdomen with overlay"),
    ("JPGExtended.dcm", "Bone scintigraphy, JPEG 12 bit"),
)
_PICTURES = (
    ("retina.jpg", "OP", "Fundus of the eye", "RETINA"),
    ("ihc.png", "GM", "Colon, immunohistochemistry", "COLON"),
    ("cell.png", "GM", "Cell in a microscope", ""),
)
_DATE = "20260102"
_TOGETHER = 8


def _phantoms() -> list[tuple[str, Callable[[], Image]]]:
    from somascope import phantoms

    return [
        ("CT thorax", phantoms.thorax_ct),
        ("PET", phantoms.thorax_pet),
        ("Chest X-ray", phantoms.thorax_dx),
        ("MR brain T1", lambda: phantoms.brain_mr("T1")),
        ("MR brain T2", lambda: phantoms.brain_mr("T2")),
        ("MR brain FLAIR", lambda: phantoms.brain_mr("FLAIR")),
        ("Heart ultrasound", phantoms.heart_us),
        ("PET hot spheres", phantoms.nema_pet),
    ]


def _folder(package: str, *parts: str) -> Path | None:
    """A folder inside an installed package, without importing the package."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent.joinpath(*parts)


def demo_images() -> Iterator[tuple[str, Callable[[], list[bytes]]]]:
    """Name and maker of each series, the CT of the thorax first; a maker gives Part 10 files.

    Equal on every run, identifiers included. Files missing from a package are left out.
    """
    makers = _phantoms()
    yield makers[0][0], lambda: _series(makers[0][1]())
    real = _folder("pydicom", "data", "test_files")
    for file, name in _DICOM:
        path = real / file if real else None
        if path is not None and path.is_file():
            yield name, lambda path=path: [path.read_bytes()]
    for name, make in makers[1:]:
        yield name, lambda make=make: _series(make())
    for scan in SCANS:
        yield scan.name, lambda scan=scan: files(scan)
    yield from _nifti()
    yield from _pictures()


def _series(image: Image) -> list[bytes]:
    from somascope.io.dicom.write import instances

    return instances(image)


def _nifti() -> Iterator[tuple[str, Callable[[], list[bytes]]]]:
    folder = _folder("nibabel", "tests", "data")
    for file, name in (("example4d.nii.gz", "MR, two volumes"), ("anatomical.nii", "MR anatomy")):
        path = folder / file if folder else None
        if path is not None and path.is_file():
            facts = {"SeriesDescription": name, "StudyDescription": f"nibabel {file}"}
            yield name, lambda path=path, facts=facts: _series(_read(path, "MR", facts))


def _pictures() -> Iterator[tuple[str, Callable[[], list[bytes]]]]:
    folder = _folder("skimage", "data")
    for file, modality, name, part in _PICTURES:
        path = folder / file if folder else None
        if path is not None and path.is_file():
            facts = {"SeriesDescription": name, "StudyDescription": f"scikit-image {file}"}
            if part:
                facts["BodyPartExamined"] = part
            yield name, lambda path=path, m=modality, facts=facts: _series(_read(path, m, facts))


def _read(path: Path, modality: str, facts: dict[str, str]) -> Image:
    from somascope.io import read

    image = read(path)
    image = image[0] if isinstance(image, list) else image
    given = {
        "PatientName": f"Demo^{path.name.split('.')[0].capitalize()}",
        "PatientID": f"DEMO-{path.name.split('.')[0].upper()}",
        "StudyDate": _DATE,
        "StudyTime": "090000",
        **facts,
    }
    return replace(image, modality=modality, attributes={**image.attributes, **given})


def fill(archive: _Archive, *, progress: Progress = QUIET) -> Filled:
    """Store the demo's images; what is there already stays as it is.

    One series that cannot be made does not stop the others: it is in ``problems``.
    """
    images = list(demo_images())
    done = Filled(0, 0, [])
    # Stores that arrive together share one commit to disk.
    with ThreadPoolExecutor(_TOGETHER, thread_name_prefix="demo") as pool:
        for i, (name, make) in enumerate(images):
            progress(i / len(images), name)
            try:
                for outcome in pool.map(lambda part: archive.store(part, origin="demo"), make()):
                    if outcome.outcome == "stored":
                        done.stored += 1
                    else:
                        done.present += 1
            except SomascopeError as error:
                done.problems.append((name, str(error)))
    progress(1.0, "demo images")
    return done
