"""UIDs and paths become the nouns an operation takes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from somascope.core import (
    QUIET,
    Acquisition,
    Box,
    Image,
    Label,
    Mask,
    Measurement,
    Progress,
    Warp,
)
from somascope.core.errors import GeometryError, NotFound, ParameterError, ReadError
from somascope.core.operations import Operation
from somascope.io import read_all
from somascope.process.labelled import labelled

if TYPE_CHECKING:
    from somascope.archive import Archive
    from somascope.io.dicom.sr import Reference

Noun: TypeAlias = Image | Mask | Acquisition | Warp | Label | Box | Measurement
"""What an operation takes and gives."""

FINDINGS = (Label, Box, Measurement)
"""What a structured report holds."""

_SEGMENTATIONS = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")


def split(uid: str) -> tuple[str, int | None]:
    """``UID`` or ``UID#n``, the n-th volume (from 1) where a series holds several."""
    name, hash_, number = uid.partition("#")
    if not hash_:
        return uid, None
    if not number.isdigit() or int(number) < 1:
        raise ParameterError(f"input {uid!r}: write UID#n with n from 1 for the n-th volume")
    return name, int(number)


def locate(archive: Archive, uid: str) -> list[Path]:
    """The files of a series or of one instance; `NotFound` where there is neither."""
    name, _ = split(uid)
    found = archive.locate(series=name) or archive.locate(instance=name)
    if not found:
        raise NotFound(f"no series or instance {name!r} in this archive")
    return [Path(i.path) for i in found]


def from_archive(archive: Archive, uid: str, *, noun: str, instances: Sequence[str] = ()) -> Noun:
    """The volume or segmentation behind a UID.

    ``noun`` is what the operation declares (``Image``, ``Mask``, ``Image|Mask``); ``instances``
    narrows a series down to these SOP Instance UIDs (a series may have grown since).
    """
    return all_from_archive(archive, uid, noun=noun, instances=instances)[0]


def all_from_archive(
    archive: Archive, uid: str, *, noun: str, instances: Sequence[str] = ()
) -> list[Noun]:
    """As `from_archive`; where any number of findings is asked for, all of a report."""
    if instances:
        paths = [p for i in instances for p in locate(archive, i)]
    else:
        paths = locate(archive, uid)
    _, number = split(uid)
    return every(paths, uid, noun=noun, number=number, narrowed=bool(instances))


def sources_of(archive: Archive, mask: Mask) -> list[Any]:
    """Headers of the images a mask was made on, as far as the archive (still) holds them.

    They are the first image series in its provenance; a mask made from a segmentation alone was
    made on what that one was made on. `seg.instances` takes them.
    """
    from somascope.io.dicom.references import headers

    wanted = {s.name: set(s.uids) for s in mask.provenance.sources if s.kind == "dicom"}
    if mask.on:
        first = archive.locate(instance=mask.on[0])
        if first:
            wanted[first[0].series] = wanted.get(first[0].series, set()) | set(mask.on)
    for series, uids in wanted.items():
        found = [
            i
            for i in archive.locate(series=series)
            if i.sop_uid in uids and i.sop_class not in _SEGMENTATIONS
        ]
        if found:
            return headers([i.path for i in found])
    return []


def references_of(
    archive: Archive, findings: Sequence[Label | Box | Measurement]
) -> list[Reference]:
    """The instances findings were made and seen on, as far as the archive (still) holds them.

    `sr.instances` takes them.
    """
    from somascope.io.dicom.sr import Reference

    found: dict[str, Reference] = {}
    wanted: dict[str, set[str]] = {}
    for finding in findings:
        for source in finding.provenance.sources:
            if source.kind == "dicom":
                wanted.setdefault(source.name, set()).update(source.uids)
        for uid in finding.on:
            if uid not in wanted:
                wanted[uid] = set()
    for name, uids in wanted.items():
        for i in archive.locate(series=name) or archive.locate(instance=name):
            if not uids or i.sop_uid in uids:
                found[i.sop_uid] = Reference(i.sop_class, i.sop_uid, i.series, i.study)
    return list(found.values())


def only(
    paths: Sequence[Path],
    name: str,
    *,
    noun: str,
    number: int | None = None,
    narrowed: bool = False,
) -> Noun:
    """The one noun in these files; an error that tells what is there where it is not one.

    ``number`` chooses among several (from 1); with ``narrowed`` the files are one choice already.
    """
    report = read_all(list(paths))
    wanted = noun.removesuffix("[]").split("|")
    found: list[Noun] = []
    if "Image" in wanted or "Any" in wanted:
        found += report.images
    if "Mask" in wanted or "Any" in wanted:
        found += report.masks
    if "Acquisition" in wanted or "Any" in wanted:
        found += report.acquisitions
    if "Warp" in wanted or "Any" in wanted:
        found += report.warps
    found += [f for f in report.findings if type(f).__name__ in wanted or "Any" in wanted]
    if not found and "Mask" in wanted:
        # A NIfTI or PNG file cannot say that it holds labels.
        found += [m for i in report.images if (m := labelled(i)) is not None]
    if not found:
        there = [type(n).__name__ for n in [*report.nouns, *report.warps, *report.findings]]
        reasons = "; ".join(f"{n}: {r}" for n, r in report.problems[:3])
        raise ReadError(
            f"input {name} holds no {' or '.join(wanted)}"
            + (f", but {len(there)} {there[0]}" if there else "")
            + (f" ({reasons})" if reasons else "")
            + (
                "; a label map, whole numbers from 0 on, counts as a mask, and this one has others"
                if "Mask" in wanted and report.images
                else ""
            )
        )
    if number is not None and not (narrowed and len(found) == 1):
        if number > len(found):
            raise NotFound(f"input {name}: there are only {len(found)} {_kind(found)}")
        return found[number - 1]
    if len(found) > 1:
        listed = "; ".join(f"#{i + 1} {_shape(n)}" for i, n in enumerate(found[:8]))
        raise GeometryError(
            f"input {name} holds {len(found)} {_kind(found)}, not one: {listed}. Name one of them "
            f"as {split(name)[0]}#n"
        )
    return found[0]


def every(
    paths: Sequence[Path],
    name: str,
    *,
    noun: str,
    number: int | None = None,
    narrowed: bool = False,
) -> list[Noun]:
    """The one noun in these files as a list; all findings of a report for ``Measurement[]``."""
    wanted = noun.removesuffix("[]").split("|")
    kinds = {k.__name__ for k in FINDINGS}
    if noun.endswith("[]") and set(wanted) <= kinds and number is None:
        report = read_all(list(paths))
        found: list[Noun] = [f for f in report.findings if type(f).__name__ in wanted]
        if found:
            return found
    return [only(paths, name, noun=noun, number=number, narrowed=narrowed)]


def _kind(found: Sequence[Noun]) -> str:
    return "findings" if isinstance(found[0], FINDINGS) else "volumes"


def _shape(noun: Noun) -> str:
    if isinstance(noun, FINDINGS):
        return f"{type(noun).__name__} {noun.concept.meaning}"
    if isinstance(noun, Warp):
        return "affine warp" if noun.displacement is None else "dense warp"
    if isinstance(noun, Acquisition):
        return f"raw {noun.modality} {'x'.join(map(str, noun.samples.shape))}"
    kind = noun.modality if isinstance(noun, Image) else "SEG"
    sources = [s.name for s in noun.provenance.sources if s.kind == "file"]
    told = f" {sources[0]}" if len(sources) == 1 else ""
    return f"{kind} {'x'.join(map(str, noun.data.shape))} {noun.grid!r}{told}"


def nouns_of(operation: Operation, count: int) -> list[str]:
    """The declared noun of each of ``count`` inputs, or `ParameterError` for a wrong count."""
    declared = [t for _, t in operation.inputs]
    # A list at the end may be empty, but an operation has an input.
    if declared and declared[-1].endswith("[]") and count >= max(len(declared) - 1, 1):
        return declared[:-1] + [declared[-1]] * (count - len(declared) + 1)
    if count != len(declared):
        wanted = ", ".join(f"{n} ({t})" for n, t in operation.inputs)
        raise ParameterError(
            f"{operation.name} takes {len(declared)} input(s), {wanted}; {count} given"
        )
    return declared


def part(progress: Progress, first: float, last: float) -> Progress:
    """A progress whose 0..1 is ``first`` to ``last`` of another; a cancel passes through."""
    if progress is QUIET:
        return progress
    return Progress(lambda f, m: progress(first + (last - first) * f, m))
