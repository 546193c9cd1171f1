"""`convert`: from any format to any other; a folder of DICOM becomes NIfTI with BIDS side-cars."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import replace
from pathlib import Path

from somascope.core.acquisition import Acquisition
from somascope.core.errors import NotFound, SomascopeError, WriteError
from somascope.core.finding import Mask
from somascope.core.image import Image
from somascope.core.progress import QUIET, Progress
from somascope.io import bids
from somascope.io.atomic import replacing
from somascope.io.read import read_all
from somascope.io.report import ConvertReport
from somascope.io.slice_timing import SliceTimes
from somascope.io.write import known, suffix_of, write

_LONGEST = 80
_NIFTI = (".nii", ".nii.gz")


def convert(
    src: str | Path,
    dst: str | Path,
    *,
    series: str | None = None,
    progress: Progress = QUIET,
) -> ConvertReport:
    """Convert what is in ``src`` to ``dst``.

    Parameters
    ----------
    src
        A file of any format read here, or a folder.
    dst
        A file (the suffix decides the format; the source must then hold one volume), or a folder.
        In a folder DICOM becomes one ``.nii.gz`` per volume with a BIDS side-car, ``.bval`` and
        ``.bvec`` where known, and segmentations become label images; where there is no DICOM, each
        image becomes a DICOM series. Raw acquisitions become ``.h5``.
    series
        Only this Series Instance UID.
    progress
        Reports and cancels.

    Returns
    -------
    ConvertReport
        Files written, and ``(name, reason)`` for what could not be.

    Raises
    ------
    NotFound
        No such source or series.
    WriteError
        Several volumes for one file, or a suffix that names no format.
    """
    src, dst = Path(src), Path(dst)
    single = bool(suffix_of(dst))
    if single and not known(dst):
        raise WriteError(
            f"{dst.name} has the suffix {dst.suffix!r}, which names no format written here; use "
            ".nii.gz, .nrrd, .mha, .png, .tif, .dcm, or a folder"
        )
    found = read_all(src, series=series, progress=Progress(lambda f, m: progress(f / 2, m)))
    nouns = found.nouns
    report = ConvertReport(problems=list(found.problems))
    if series is not None and not nouns:
        every = read_all(src)
        there = sorted({_uid(n) for n in every.nouns} - {""})
        raise NotFound(f"{src} has no series {series!r}; it has {', '.join(there) or 'none'}")
    files = sorted(p for p in src.rglob("*") if p.is_file()) if src.is_dir() else [src]
    times = SliceTimes(files)
    if single:
        _one(nouns, dst, src, report, times)
        return report
    if any(_is_dicom(n) for n in nouns):
        # Beside DICOM, other images are mostly what somebody converted from it before.
        left = [n for n in nouns if not _is_dicom(n) and not isinstance(n, Acquisition)]
        reason = "is not DICOM and was left out of a folder that holds DICOM; convert it by itself"
        report.problems += [(n.provenance.sources[0].name, reason) for n in left]
        nouns = [n for n in nouns if n not in left]
    names = _Names()
    for i, noun in enumerate(nouns):
        progress(0.5 + 0.5 * i / len(nouns), "write")
        name = names.next(_name(noun, src))
        try:
            if isinstance(noun, Acquisition):
                write(noun, dst / f"{name}.h5")
                report.written.append(dst / f"{name}.h5")
            elif _is_dicom(noun):
                report.written.append(_nifti(noun, dst / f"{name}.nii.gz", times))
            else:
                # One series needs no folder of its own.
                target = dst if len(nouns) == 1 else dst / name
                write(noun, target)
                report.written.append(target)
        except SomascopeError as error:
            report.problems.append((name, str(error)))
    progress(1.0, "write")
    return report


def _one(
    nouns: list[Image | Mask | Acquisition],
    dst: Path,
    src: Path,
    report: ConvertReport,
    times: SliceTimes,
) -> None:
    if not nouns:
        return
    if len(nouns) > 1:
        told = ", ".join(sorted({_uid(n) or _name(n, src) for n in nouns})[:6])
        raise WriteError(
            f"{src} holds {len(nouns)} volumes and {dst.name} can hold one; choose one with "
            f"--series ({told}), or give a folder"
        )
    write(nouns[0], dst)
    only = nouns[0]
    if not isinstance(only, Acquisition) and _is_dicom(only) and suffix_of(dst) in _NIFTI:
        _beside(only, dst, times)
    report.written.append(dst)


def _is_dicom(noun: Image | Mask | Acquisition) -> bool:
    return any(s.kind == "dicom" for s in noun.provenance.sources)


def _uid(noun: Image | Mask | Acquisition) -> str:
    return str(noun.attributes.get("SeriesInstanceUID", ""))


def _nifti(noun: Image | Mask, path: Path, times: SliceTimes) -> Path:
    write(noun, path)
    _beside(noun, path, times)
    return path


def _beside(noun: Image | Mask, path: Path, times: SliceTimes) -> None:
    """Side-car, b-values and gradient directions; the names of the labels of a mask."""
    stem = path.name.removesuffix(".gz").removesuffix(".nii")
    if isinstance(noun, Mask):
        rows = ["index\tname\tcolor"]
        for s in noun.segments:
            r, g, b = s.colour
            rows.append(f"{s.number}	{' '.join(s.label.split())}	#{r:02x}{g:02x}{b:02x}")
        with replacing(path.with_name(stem + "_dseg.tsv")) as file:
            file.write(("\n".join(rows) + "\n").encode())
        return
    timing = times.of(noun)
    if timing:
        noun = replace(noun, attributes={**noun.attributes, "SliceTiming": timing})
    bids.write_sidecar(noun, path.with_name(stem + ".json"))
    table = bids.b_table(noun)
    if table is not None:
        for suffix, text in zip((".bval", ".bvec"), table, strict=True):
            if text is not None:
                with replacing(path.with_name(stem + suffix)) as file:
                    file.write(text.encode())


def _name(noun: Image | Mask | Acquisition, src: Path) -> str:
    """``series-3_T1w_axial``: from number and description, never a name of the patient."""
    facts = noun.attributes
    if not _is_dicom(noun):
        sources = noun.provenance.sources
        return safe(sources[0].name.split(".")[0] if sources else src.stem)
    number = facts.get("SeriesNumber")
    told = facts.get("SeriesDescription") or facts.get("ProtocolName") or ""
    parts = [f"{int(number):03d}" if isinstance(number, (int, float)) else "", str(told)]
    modality = "SEG" if isinstance(noun, Mask) else noun.modality
    return safe("_".join(p for p in (*parts, modality) if p))


def safe(text: str) -> str:
    """Letters, digits, dash and underscore of ``text``; never empty, never a device name."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    plain = re.sub(r"[^A-Za-z0-9-]+", "_", plain).strip("_-")[:_LONGEST].rstrip("_-")
    if re.fullmatch(r"(?i)con|prn|aux|nul|com\d|lpt\d", plain):
        plain = f"_{plain}"
    return plain or "image"


class _Names:
    """Gives each name once, whatever the case: ``a``, ``a_2``, ``a_3``."""

    def __init__(self) -> None:
        self._given: set[str] = set()

    def next(self, name: str) -> str:
        number, found = 1, name
        while found.lower() in self._given:
            number += 1
            found = f"{name}_{number}"
        self._given.add(found.lower())
        return found
