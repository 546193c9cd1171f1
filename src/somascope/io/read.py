"""`read` and `read_all`: from a path to nouns, by what the bytes are and not by their name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from somascope.core import registry
from somascope.core.acquisition import Acquisition
from somascope.core.errors import (
    Cancelled,
    CorruptFile,
    NotFound,
    ReadError,
    SomascopeError,
    UnsupportedFormat,
)
from somascope.core.finding import Box, Label, Mask, Measurement
from somascope.core.image import Image
from somascope.core.progress import QUIET, Progress
from somascope.io.bids_dataset import beside_raw
from somascope.io.dicom_files import HEAD, DicomFiles
from somascope.io.report import ReadReport


@runtime_checkable
class Reader(Protocol):
    """What a plug-in publishes in the entry-point group ``somascope.readers``.

    `somascope.testing.reader.check_reader` checks an implementation.
    """

    def matches(self, head: bytes, path: Path) -> bool:
        """Whether the first bytes (up to 4096, fewer in a short file) are of this format.

        ``path`` is for formats that need a neighbour file; the suffix decides nothing.
        """
        ...

    def read(self, path: Path) -> Sequence[Image | Mask | Acquisition]:
        """Images, masks and raw acquisitions in the file; `ReadError` saying why when none."""
        ...


def _readers() -> dict[str, Reader]:
    """Installed readers by name, ours among them."""
    found: dict[str, Reader] = {}
    for name, point in registry.readers().items():
        reader = point.load()
        found[name] = reader() if isinstance(reader, type) else reader
    return found


def is_dicom(head: bytes) -> bool:
    """Whether bytes start like DICOM: the preamble of PS3.10 7.1, or a bare first data element."""
    if head[128:132] == b"DICM":
        return True
    # Without a preamble: group 2 or 8, a small element number, and a known VR or a small length.
    if len(head) < 16 or head[0:2] not in (b"\x02\x00", b"\x08\x00", b"\x00\x08"):
        return False
    if head[4:6] in (b"UL", b"OB", b"UI", b"CS", b"DA", b"TM", b"LO", b"SH"):
        return True
    return head[:3] in (b"\x02\x00\x00", b"\x08\x00\x00", b"\x08\x00\x05") and head[6:8] == b"\0\0"


def read(path: str | Path, *, series: str | None = None) -> Image | list[Image]:
    """Read a file or a folder; the format is told from the content.

    Parameters
    ----------
    path
        A DICOM, NIfTI, NRRD, MetaImage, PNG, JPEG or TIFF file, or a folder of DICOM files, of
        numbered pictures, or of a BIDS dataset (its raw images; `bids_dataset` tells them apart).
    series
        Only volumes of this Series Instance UID.

    Returns
    -------
    Image or list of Image
        One image, or a list in a stable order where there are several volumes.

    Raises
    ------
    NotFound
        The path, or the series in it, does not exist.
    ReadError
        Nothing readable; the message gives the reason for the first files.
    """
    report = read_all(path, series=series)
    images = report.images
    if series is not None and not images:
        there = sorted({_series(i) for i in read_all(path).images} - {""})
        raise NotFound(f"{path} has no series {series!r}; it has {', '.join(there) or 'none'}")
    if not images:
        reasons = "; ".join(f"{n}: {r}" for n, r in report.problems[:5]) or "no files"
        if report.masks:
            reasons = f"only {len(report.masks)} segmentation(s), which read_all gives as masks"
        if report.findings:
            reasons = f"only {len(report.findings)} finding(s), which read_findings gives"
        if report.acquisitions:
            reasons = (
                f"only {len(report.acquisitions)} raw acquisition(s); reconstruct them "
                "(somascope operations lists acquire.*), or read them with read_acquisition"
            )
        kind = next((e for e in report.errors if isinstance(e, ReadError)), None)
        raise (type(kind) if kind is not None else ReadError)(f"no image in {path}: {reasons}")
    return images[0] if len(images) == 1 else images


def read_acquisition(path: str | Path) -> Acquisition:
    """Read the raw acquisition in a file or a folder; the format is told from the content.

    Raises
    ------
    NotFound
        The path does not exist.
    ReadError
        There is none, or several; the message says what is there.
    """
    report = read_all(path)
    if len(report.acquisitions) == 1:
        return report.acquisitions[0]
    reasons = "; ".join(f"{n}: {r}" for n, r in report.problems[:5])
    there = f"{len(report.images)} image(s), {len(report.acquisitions)} raw acquisition(s)"
    kind = next((e for e in report.errors if isinstance(e, ReadError)), None)
    raise (type(kind) if kind is not None else ReadError)(
        f"{path} does not hold one raw acquisition but {there}; {reasons or 'no problems'}"
    )


def read_findings(path: str | Path) -> list[Label | Box | Measurement]:
    """The findings in the structured reports of a file or a folder.

    `read_all` tells, in its ``problems``, what else a report says.

    Raises
    ------
    NotFound
        The path does not exist.
    ReadError
        There are none; the message says what is there.
    """
    report = read_all(path)
    if report.findings:
        return report.findings
    reasons = "; ".join(f"{n}: {r}" for n, r in report.problems[:5]) or "no structured report"
    kind = next((e for e in report.errors if isinstance(e, ReadError)), None)
    raise (type(kind) if kind is not None else ReadError)(f"no finding in {path}: {reasons}")


def _series(image: Image) -> str:
    return str(image.attributes.get("SeriesInstanceUID", ""))


def read_all(
    path: str | Path | Sequence[str | Path],
    *,
    series: str | None = None,
    progress: Progress = QUIET,
) -> ReadReport:
    """Read everything behind a path, or a list of paths, and say what could not be read.

    Bad files never stop the others: they are in ``problems`` with the reason. With ``series``
    only DICOM of that Series Instance UID is read.

    Raises
    ------
    NotFound
        A path does not exist.
    Cancelled
        ``progress`` was stopped.
    """
    paths = [Path(path)] if isinstance(path, (str, Path)) else [Path(p) for p in path]
    report = ReadReport()
    files: list[Path] = []
    for root in paths:
        if root.is_dir():
            apart = beside_raw(root)
            every = [p for p in root.rglob("*") if p.is_file() and not _hidden(p, root)]
            files += sorted(p for p in every if p.relative_to(root).parts[0] not in apart)
        elif root.is_file():
            files.append(root)
        else:
            raise NotFound(f"there is no file or folder {str(root)!r}")
    found = DicomFiles()
    others: list[tuple[Path, bytes]] = []
    for file in files:
        try:
            with file.open("rb") as stream:
                head = stream.read(HEAD)
        except OSError as error:
            report.problem(file.name, error)
            continue
        if is_dicom(head):
            found.add(file, head)
        else:
            others.append((file, head))
    whole = len(files) > 1
    part = Progress(lambda f, m: progress(0.8 * f, m))
    dicom = found.read(report, series=series, progress=part)
    if series is not None:
        others = []
    others = _without_pairs(others)
    _others(others, report, progress=progress, quiet=whole and bool(dicom or len(others) > 1))
    progress(1.0, "read")
    return report


def _without_pairs(files: list[tuple[Path, bytes]]) -> list[tuple[Path, bytes]]:
    """Without the ``.img`` of NIfTI pairs, which is read through its ``.hdr``."""
    names = {file.with_name(file.name.removesuffix(".gz")) for file, _ in files}
    return [
        (file, head)
        for file, head in files
        if not (
            file.name.removesuffix(".gz").endswith(".img")
            and file.with_name(file.name.removesuffix(".gz")[:-4] + ".hdr") in names
        )
    ]


def _hidden(path: Path, root: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(root).parts)


def _others(
    files: list[tuple[Path, bytes]], report: ReadReport, *, progress: Progress, quiet: bool
) -> None:
    readers = _readers() if files else {}
    pictures: list[Path] = []
    for i, (file, head) in enumerate(files):
        progress(0.8 + 0.2 * i / len(files), file.name)
        try:
            matching = [(n, r) for n, r in readers.items() if r.matches(head, file)]
            if not matching:
                if not quiet:
                    raise UnsupportedFormat(_unknown(file, head))
                report.skipped.append(file.name)
            elif matching[-1][0] == "raster" and len(files) > 1:
                pictures.append(file)
            else:
                for noun in matching[-1][1].read(file):
                    if isinstance(noun, Mask):
                        report.masks.append(noun)
                    elif isinstance(noun, Acquisition):
                        report.acquisitions.append(noun)
                    else:
                        report.images.append(noun)
        except Cancelled:
            raise
        except (SomascopeError, OSError) as error:
            report.problem(file.name, error)
        except Exception as error:  # somebody's plug-in; the other files are still good
            report.problem(file.name, CorruptFile(f"{file.name}: {type(error).__name__}: {error}"))
    for group in _numbered(pictures):
        from somascope.io import raster

        try:
            report.images += (
                raster.READER.read(group[0]) if len(group) == 1 else [raster.stack(group)]
            )
        except (SomascopeError, OSError) as error:
            report.problem(group[0].name, error)


def _numbered(pictures: Iterable[Path]) -> list[list[Path]]:
    """Pictures of one folder whose names differ in a number only, in the order of that number."""
    from somascope.io.raster import numbered

    pictures = list(pictures)
    return numbered(pictures) if pictures else []


def _unknown(file: Path, head: bytes) -> str:
    if not head:
        return f"{file.name} is empty"
    return (
        f"{file.name} is of no format known here (it starts with {head[:8]!r}); known are DICOM, "
        f"{', '.join(_readers())}; install a plug-in that reads it, or convert it to NIfTI"
    )
