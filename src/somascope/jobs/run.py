"""The one way an operation is run on stored things: nouns in, operation, DICOM (or files) out.

Every door ends here: the command line, the job workers, Ray, a replay. Equal inputs, parameters
and version give equal bytes, identifiers included.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from somascope import __version__
from somascope.core import (
    QUIET,
    Acquisition,
    Box,
    Image,
    Label,
    Mask,
    Measurement,
    Progress,
    Provenance,
    Step,
    Warp,
)
from somascope.core.errors import Conflict, WriteError
from somascope.core.operations import Operation
from somascope.core.registry import get_operation
from somascope.jobs.resolve import (
    FINDINGS,
    Noun,
    all_from_archive,
    every,
    nouns_of,
    part,
    references_of,
    sources_of,
)

if TYPE_CHECKING:
    from somascope.archive import Archive

Result: TypeAlias = Image | Mask | Acquisition | Warp | Sequence[Label | Box | Measurement]
"""What becomes a series: an array, or all findings of a run together."""


def execute(
    archive: Archive,
    operation: str,
    inputs: Sequence[str],
    params: Mapping[str, Any] | None = None,
    *,
    progress: Progress = QUIET,
) -> list[str]:
    """Run ``operation`` on series or instances of the archive and store what comes out.

    Parameters
    ----------
    inputs
        Series or SOP Instance UIDs in the order of the operation's inputs; ``UID#n`` for the
        n-th volume of a series that holds several.

    Returns
    -------
    list of str
        Series Instance UIDs of the results, new series in the study of the first input.

    Raises
    ------
    NotFound, ParameterError, ReadError, GeometryError, WriteError
        With the thing, the value and the remedy. Nothing is stored then.
    Conflict
        The archive holds other content under a result's identifiers.
    """
    found = get_operation(operation)
    complete = found.validate(params or {})
    declared = nouns_of(found, len(inputs))
    nouns = [
        one
        for uid, noun in part(progress, 0.0, 0.2).over(
            list(zip(inputs, declared, strict=True)), "reading"
        )
        for one in all_from_archive(archive, uid, noun=noun)
    ]
    results = compute(found, nouns, inputs, complete, progress=part(progress, 0.2, 0.8))
    writing = part(progress, 0.8, 0.9)
    series = [encode(r, archive=archive) for r in writing.over(bundled(results), "writing")]
    return store(archive, series, operation=operation, progress=part(progress, 0.9, 1.0))


def compute(
    operation: Operation,
    nouns: Sequence[Noun],
    inputs: Sequence[str],
    params: Mapping[str, Any],
    *,
    progress: Progress = QUIET,
) -> list[Noun]:
    """Run on nouns; each result's provenance names all ``inputs`` and the validated parameters.

    Findings without facts of their own get patient and study of the first input.
    """
    given = operation(*nouns, progress=progress, **params)
    results: list[Noun] = []
    for result in given if isinstance(given, (list, tuple)) else [given]:
        if not isinstance(result, (Image, Mask, Acquisition, Warp, *FINDINGS)):
            raise WriteError(
                f"{operation.name} returned a {type(result).__name__}, which has no DICOM object "
                "here yet; call it from Python"
            )
        own = result.provenance
        earlier = [s for n in nouns for s in n.provenance.steps]
        steps = own.steps[:-1] if own.steps and own.steps[-1].operation == operation.name else ()
        sources = list(own.sources)
        for noun in nouns:
            sources += [s for s in noun.provenance.sources if s not in sources]
        note = operation.chosen(params)
        step = Step(operation.name, dict(params), tuple(inputs), __version__, note)
        kept = tuple(s for s in steps if s in earlier)
        made = replace(result, provenance=Provenance(tuple(sources), (*kept, step)))
        if isinstance(made, FINDINGS) and not made.attributes and nouns:
            made = replace(made, attributes=nouns[0].attributes)
        results.append(made)
    return results


def bundled(results: Sequence[Noun]) -> list[Result]:
    """Results as series: all findings in one, at the place of the first of them."""
    findings: list[Label | Box | Measurement] = []
    series: list[Result] = []
    for result in results:
        if not isinstance(result, FINDINGS):
            series.append(result)
            continue
        if not findings:
            series.append(findings)
        findings.append(result)
    return series


def encode(result: Result, *, archive: Archive | None = None) -> list[bytes]:
    """The DICOM instances of one result; each has passed the validator.

    A segmentation references, slice by slice, the instances of ``archive`` it was made on; a
    report of findings references those too.
    """
    if isinstance(result, Mask):
        from somascope.io.dicom.seg import instances as segmentation

        return list(segmentation(result, sources_of(archive, result) if archive else None))
    if isinstance(result, Acquisition):
        from somascope.io.dicom.raw import instances as raw

        return raw(result)
    if isinstance(result, Warp):
        from somascope.io.dicom.registration import instances as registration

        verdict = getattr(result, "verdict", None)
        return registration(result, description=verdict.words if verdict is not None else "")
    if isinstance(result, Sequence):
        from somascope.io.dicom.sr import instances as report

        return report(result, references=references_of(archive, result) if archive else ())
    from somascope.io.dicom.write import instances

    return instances(result)


def store(
    archive: Archive,
    series: Sequence[Sequence[bytes]],
    *,
    operation: str,
    progress: Progress = QUIET,
) -> list[str]:
    """Put the instances into the archive; the Series Instance UIDs, each once, in order."""
    from somascope.io.dicom.header import scan

    total = sum(len(s) for s in series)
    uids: list[str] = []
    done = 0
    for files in series:
        for file in files:
            header = scan(file)
            stored = archive.store(file, origin=f"operation:{operation}")
            if stored.outcome == "conflict":
                raise Conflict(
                    f"{operation}: the archive holds another instance {header.sop_uid}; the stored "
                    "one was kept and this one put in quarantine. It was made by another build of "
                    "this version: delete the older result or change a parameter"
                )
            if header.series not in uids:
                uids.append(header.series)
            done += 1
            progress(done / total, "storing")
    return uids


def run_files(
    operation: str,
    inputs: Sequence[Path | str],
    out: Path | str,
    params: Mapping[str, Any] | None = None,
    *,
    progress: Progress = QUIET,
) -> list[Path]:
    """Run ``operation`` on files or folders and write what comes out.

    Parameters
    ----------
    inputs
        Files or folders in the order of the operation's inputs; each must hold one volume, or
        name one of several as ``PATH#n``.
    out
        A file (the suffix chooses the format) or a folder (a DICOM series). Several results go to
        ``name_1.suffix``, ``name_2.suffix``... or to folders ``1``, ``2``... below ``out``. All
        findings are one result: a structured report, or ``.json``.

    Returns
    -------
    list of Path
        What was written.
    """
    from somascope.io import write

    found = get_operation(operation)
    complete = found.validate(params or {})
    declared = nouns_of(found, len(inputs))
    nouns: list[Noun] = []
    names: list[str] = []
    reading = part(progress, 0.0, 0.3)
    for text, noun in reading.over(list(zip(map(str, inputs), declared, strict=True)), "reading"):
        path, number = _numbered(text)
        nouns += every([path], path.name, noun=noun, number=number)
        sources = nouns[-1].provenance.sources
        names.append(sources[0].name if sources else path.name)
    results = bundled(compute(found, nouns, names, complete, progress=part(progress, 0.3, 0.9)))
    target = Path(out)
    written: list[Path] = []
    for i, result in enumerate(results):
        one = target if len(results) == 1 else _nth(target, i + 1)
        write(result, one)
        written.append(one)
    progress(1.0, "written")
    return written


def _numbered(text: str) -> tuple[Path, int | None]:
    path = Path(text)
    name, hash_, number = text.rpartition("#")
    if hash_ and number.isdigit() and not path.exists():
        return Path(name), int(number)
    return path, None


def _nth(target: Path, number: int) -> Path:
    from somascope.io.write import suffix_of

    suffix = suffix_of(target)
    if not suffix:
        return target / str(number)
    return target.with_name(f"{target.name[: -len(suffix)]}_{number}{suffix}")
