"""NIfTI, NRRD, MetaImage, picture and raw data files become DICOM on their way into the archive."""

from __future__ import annotations

from dataclasses import dataclass

from somascope.archive import Archive, ImportReport
from somascope.core.errors import SomascopeError
from somascope.core.progress import QUIET, Progress


@dataclass(frozen=True)
class Converted:
    """``files`` were converted to ``stored`` instances; ``refused`` are (name, reason)."""

    files: list[str]
    stored: int
    refused: list[tuple[str, str]]


def store_other_formats(
    archive: Archive, report: ImportReport, *, progress: Progress = QUIET
) -> Converted:
    """Convert and store what `Archive.import_paths` set aside as not DICOM."""
    from somascope.io import read_all
    from somascope.io.bids_dataset import is_side_file
    from somascope.jobs.run import encode

    files: list[str] = []
    refused = [(p.name, p.reason) for p in report.problems if p.kind != "other" or p.path is None]
    stored = 0
    for listed in progress.over([p for p in report.problems if p.kind == "other" and p.path]):
        assert listed.path is not None
        if is_side_file(listed.path):  # read along with the images it is about
            continue
        try:
            found = read_all(listed.path)
            if not found.nouns:
                reasons = "; ".join(reason for _, reason in found.problems)
                refused.append((listed.name, reasons or listed.reason))
                continue
            for part in [part for noun in found.nouns for part in encode(noun)]:
                stored += archive.store(part, origin="import").outcome == "stored"
        except SomascopeError as error:
            refused.append((listed.name, str(error)))
        else:
            files.append(listed.name)
    return Converted(files, stored, refused)
