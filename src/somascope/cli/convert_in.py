"""NIfTI, NRRD, MetaImage and picture files become DICOM series on their way into the archive."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from somascope.archive import Archive, ImportReport
from somascope.core.errors import SomascopeError


@dataclass(frozen=True)
class Converted:
    """``files`` were converted to ``stored`` instances; ``refused`` are (name, reason)."""

    files: list[str]
    stored: int
    refused: list[tuple[str, str]]


def store_other_formats(archive: Archive, report: ImportReport) -> Converted:
    """Convert and store what `Archive.import_paths` set aside as not DICOM."""
    from somascope.io import read_all
    from somascope.io.dicom import seg
    from somascope.io.dicom import write as dicom

    files: list[str] = []
    refused = list(report.refused)
    stored = 0
    for path in report.not_dicom:
        try:
            found = read_all(Path(path))
            if not found.images and not found.masks:
                reasons = "; ".join(reason for _, reason in found.problems) or "no image in it"
                refused.append((Path(path).name, reasons))
                continue
            for image in found.images:
                for instance in dicom.instances(image):
                    stored += archive.store(instance, origin="import").outcome == "stored"
            for mask in found.masks:
                for instance in seg.instances(mask):
                    stored += archive.store(instance, origin="import").outcome == "stored"
        except SomascopeError as error:
            refused.append((Path(path).name, str(error)))
        else:
            files.append(Path(path).name)
    return Converted(files, stored, refused)
