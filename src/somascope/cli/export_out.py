"""Write what an archive holds to files."""

from __future__ import annotations

import shutil
from pathlib import Path

from somascope.archive import Archive
from somascope.core.errors import NotFound, WriteError
from somascope.core.progress import QUIET, Progress


def export_uid(archive: Archive, uid: str, out: Path, *, progress: Progress = QUIET) -> list[Path]:
    """Copy the DICOM instances of a study, series or instance into folder ``out``.

    When ``out`` has a suffix, the UID must be one volume, which is written in that format.
    """
    for level in ("study", "series", "instance"):
        found = archive.locate(
            study=uid if level == "study" else None,
            series=uid if level == "series" else None,
            instance=uid if level == "instance" else None,
        )
        if found:
            break
    else:
        raise NotFound(f"no study, series or instance {uid!r} in this archive")
    if out.suffix:
        from somascope.io import read_all, write

        report = read_all([i.path for i in found], progress=progress)
        if report.findings and not report.nouns:
            write(report.findings, out)
            return [out]
        nouns = [*report.images, *report.masks]
        if len(nouns) != 1:
            raise WriteError(
                f"{uid} holds {len(nouns)} volumes and {out.name} can hold one; give a folder, or "
                "the UID of one series"
            )
        write(nouns[0], out)
        return [out]
    out.mkdir(parents=True, exist_ok=True)
    files: list[Path] = []
    for number, item in enumerate(progress.over(found, "copy"), start=1):
        target = out / f"{number:06d}.dcm"
        shutil.copyfile(item.path, target)
        files.append(target)
    return files
