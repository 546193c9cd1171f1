"""The DICOM files of a folder by their first bytes: images, masks, raw data, reports."""

from __future__ import annotations

import re
from pathlib import Path

from somascope.core.errors import SomascopeError, UnsupportedFormat
from somascope.core.progress import Progress
from somascope.io.report import ReadReport

HEAD = 4096
"""How many bytes of a file a reader is shown."""

_SEGMENTATION = re.compile(rb"1\.2\.840\.10008\.5\.1\.4\.1\.1\.66\.[47][^.0-9]")
"""SOP Class UIDs of Segmentation and Label Map Segmentation (PS3.4 B.5)."""

_RAW = re.compile(rb"1\.2\.840\.10008\.5\.1\.4\.1\.1\.66[^.0-9]")
"""SOP Class UID of Raw Data Storage."""

_REGISTRATION = re.compile(rb"1\.2\.840\.10008\.5\.1\.4\.1\.1\.66\.[13][^.0-9]")
"""SOP Class UIDs of Spatial Registration and Deformable Spatial Registration."""

_REPORT = re.compile(rb"1\.2\.840\.10008\.5\.1\.4\.1\.1\.88\.[0-9]+")
"""SOP Class UIDs of structured reports."""

_TOMO = re.compile(rb"1\.2\.840\.10008\.5\.1\.4\.1\.1\.20[^.0-9]")
"""SOP Class UID of Nuclear Medicine images, among them the projections of SPECT."""

_PROJECTION = b"\x29\x70\x10\x10"
"""(7029,1010), which DICOM-CT-PD has and no image."""
_PIXELS = b"\xe0\x7f\x10\x00"
"""(7FE0,0010): the header ends within the first bytes, nothing is hidden behind them."""


class DicomFiles:
    """Files by what they seem to be; each is looked at closely when it is read."""

    def __init__(self) -> None:
        self._all: list[Path] = []
        self._images: list[Path] = []
        self._segmentations: list[Path] = []
        self._raw: list[Path] = []
        self._reports: list[Path] = []
        self._registrations: list[Path] = []
        self._maybe_projections: list[Path] = []
        self._turns: list[Path] = []

    def add(self, file: Path, head: bytes) -> None:
        """Take a file up by its first `HEAD` bytes."""
        self._all.append(file)
        kinds = (
            (_SEGMENTATION, self._segmentations),
            (_RAW, self._raw),
            (_REGISTRATION, self._registrations),
            (_REPORT, self._reports),
        )
        # A file's own class stands before those that it refers to.
        found = [(m.start(), files) for kind, files in kinds if (m := kind.search(head))]
        if found:
            min(found, key=lambda f: f[0])[1].append(file)
        elif _PROJECTION in head or (_PIXELS not in head and len(head) == HEAD):
            self._maybe_projections.append(file)
        else:
            self._images.append(file)
        if _TOMO.search(head):
            self._turns.append(file)

    def read(self, report: ReadReport, *, series: str | None, progress: Progress) -> list[Path]:
        """Put all they hold into ``report``, of one series or of all; the files of images."""
        if not self._all:
            return []
        rest = {*self._images, *_raw(self._raw, report, series)}
        rest |= {*_projections(self._maybe_projections, report, series)}
        rest |= {*_reports(self._reports, report, series)}
        rest |= {*_registrations(self._registrations, report, series)}
        images = [file for file in self._all if file in rest]
        _turns(self._turns, report, series)
        report.add(_dicom(images, self._segmentations, series, progress))
        return images


def _raw(files: list[Path], report: ReadReport, series: str | None) -> list[Path]:
    """Put raw data into the report; the files that only mention raw data."""
    from somascope.io.dicom.header import scan
    from somascope.io.dicom.iods import RAW
    from somascope.io.dicom.raw import read as read_raw

    rest: list[Path] = []
    for file in files:
        try:
            if scan(file).sop_class != RAW.sop_class:
                rest.append(file)
                continue
            found = read_raw(file)
        except (SomascopeError, OSError) as error:
            report.problem(file.name, error)
        else:
            if series in (None, found.attributes.get("SeriesInstanceUID")):
                report.acquisitions.append(found)
    return rest


def _reports(files: list[Path], report: ReadReport, series: str | None) -> list[Path]:
    """Put findings, and what reports say beside them, into the report; all other files."""
    from somascope.io.dicom.sr_read import read as read_report

    rest: list[Path] = []
    for file in files:
        try:
            found = read_report(file)
        except UnsupportedFormat:
            rest.append(file)  # it only mentions a report
        except (SomascopeError, OSError) as error:
            report.problem(file.name, error)
        else:
            if series in (None, found.series):
                report.findings += found.findings
                report.problems += [(file.name, note) for note in found.notes]
    return rest


def _registrations(files: list[Path], report: ReadReport, series: str | None) -> list[Path]:
    """Put warps into the report; the files that only mention a registration."""
    from somascope.io.dicom.header import scan
    from somascope.io.dicom.iods import DEFORMABLE, REGISTRATION
    from somascope.io.dicom.registration import read as read_warp

    rest: list[Path] = []
    for file in files:
        try:
            if scan(file).sop_class not in (REGISTRATION.sop_class, DEFORMABLE.sop_class):
                rest.append(file)
                continue
            found = read_warp(file)
        except (SomascopeError, OSError) as error:
            report.problem(file.name, error)
        else:
            if series in (None, found.attributes.get("SeriesInstanceUID")):
                report.warps.append(found)
    return rest


def _projections(files: list[Path], report: ReadReport, series: str | None) -> list[Path]:
    """Put DICOM-CT-PD projections, folder by folder, into the report; all other files."""
    from somascope.io.raw import ct_pd

    folders: dict[Path, list[Path]] = {}
    rest: list[Path] = []
    for file in files:
        (folders.setdefault(file.parent, []) if ct_pd.is_projection(file) else rest).append(file)
    for folder, parts in folders.items():
        try:
            found = ct_pd.read(parts)
        except (SomascopeError, OSError) as error:
            report.problem(folder.name, error)
        else:
            if series in (None, found.attributes.get("SeriesInstanceUID")):
                report.acquisitions.append(found)
    return rest


def _turns(files: list[Path], report: ReadReport, series: str | None) -> None:
    """Add the scans that SPECT projections are; as pictures, their images read them too."""
    from somascope.io.raw import nm

    for file in files:
        try:
            if not nm.is_tomo(file):
                continue
            found = nm.read(file)
        except (SomascopeError, OSError) as error:
            report.problem(f"{file.name} as a SPECT scan", error)
        else:
            report.acquisitions += [
                a for a in found if series in (None, a.attributes.get("SeriesInstanceUID"))
            ]


def _dicom(
    files: list[Path], segmentations: list[Path], series: str | None, progress: Progress
) -> ReadReport:
    from somascope.io.dicom.seg_read import read as read_mask
    from somascope.io.dicom.series import volumes

    report = ReadReport()
    rest = list(files)
    for file in segmentations:
        try:
            mask = read_mask(file)
        except UnsupportedFormat:
            rest.append(file)  # it only mentions a segmentation
        except (SomascopeError, OSError) as error:
            report.problem(file.name, error)
        else:
            if series in (None, mask.attributes.get("SeriesInstanceUID")):
                report.masks.append(mask)
    if rest:
        images, problems = volumes(rest, progress=progress, series=series)
        report.images += images
        report.problems += [(str(name), str(reason)) for name, reason in problems]
    return report
