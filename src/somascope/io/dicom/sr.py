"""Findings become structured reports and come back (PS3.3 A.35.13; PS3.16 TID 1500).

One document is a Comprehensive 3D SR with a measurement group per finding: a `Label` is a coded
finding with its certainty, a `Measurement` a number with its unit, a `Box` a region of the patient.
A box is told to every reader as the polygons around its first and last slice (SCOORD3D, in LPS
mm, so no image is needed to place it); since those are single precision and know no grid, the
exact box is beside them in a private element, used where it agrees with the polygons.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, TypeAlias

import numpy as np
from pydicom.dataset import Dataset

from somascope import __version__
from somascope.core.errors import WriteError
from somascope.core.finding import Box, Code, Label, Measurement, Tracking
from somascope.core.grid import Float, Grid
from somascope.core.provenance import Provenance
from somascope.io.dicom import carry, compose, iods, uid, validate
from somascope.io.dicom import sr_tree as tree
from somascope.io.dicom.compose import Titles
from somascope.io.dicom.encode import Encoder, coded, put
from somascope.io.dicom.provenance import NOTICE
from somascope.io.dicom.sr_read import FINDINGS, Report, corners, read
from somascope.io.dicom.sr_tree import GROUP_OF, MEASUREMENTS, SEEN_ON, text

__all__ = ["FINDINGS", "Finding", "Reference", "Report", "instances", "read"]

Finding: TypeAlias = Label | Box | Measurement
"""What a report holds; masks are Segmentations, warps Spatial Registrations."""

_ALGORITHM = Code("111001", "DCM", "Algorithm Name")
_VERSION = Code("111003", "DCM", "Algorithm Version")
_ANYWHERE = Grid.from_spacing((1, 1, 1), (1, 1, 1))


@dataclass(frozen=True)
class Reference:
    """An instance that findings were made on, and where it is."""

    sop_class: str
    sop_uid: str
    series: str
    study: str


def instances(
    findings: Finding | Sequence[Finding],
    *,
    references: Sequence[Reference] = (),
    attributes: Mapping[str, Any] | None = None,
    series_description: str | None = None,
    series_number: int | None = None,
    created: datetime | None = None,
) -> list[bytes]:
    """Part 10 files of ``findings``: one Comprehensive 3D SR in a new series of the same study.

    Findings of different provenance go into documents (and series) of their own, since a document
    has one record.

    Parameters
    ----------
    findings
        Labels, boxes and measurements in any order, which is kept.
    references
        The instances they were made on, with their storage class, as an archive knows them.
        Without them the sources in the provenance are referenced where ``attributes`` name their
        SOP Class UID; what is in ``on`` is kept in any case.
    attributes
        Patient and study under their DICOM keywords; default those of the findings.
    series_description, series_number, created
        As in `write.instances`.

    Raises
    ------
    WriteError
        No findings, another noun among them, or a result that breaks a rule of `validate.check`.
    """
    listed = list(findings) if isinstance(findings, Sequence) else [findings]
    if not listed:
        raise WriteError("there are no findings to write; a report holds at least one")
    for one in listed:
        if not isinstance(one, FINDINGS):
            raise WriteError(
                f"a report holds no {type(one).__name__}; give Label, Box or Measurement (masks "
                "become segmentations)"
            )
    groups: dict[str, list[Finding]] = {}
    for one in listed:
        groups.setdefault(one.provenance.to_json(), []).append(one)
    titles = Titles(series_description, series_number, created)
    return [_document(g, tuple(references), attributes, titles) for g in groups.values()]


def _document(
    findings: Sequence[Finding],
    references: tuple[Reference, ...],
    attributes: Mapping[str, Any] | None,
    titles: Titles,
) -> bytes:
    record = findings[0].provenance
    if attributes is None:
        attributes = next((f.attributes for f in findings if f.attributes), {})
    facts = carry.tidy(attributes)
    boxes = [f.grid for f in findings if isinstance(f, Box)]
    content = json.dumps([_plain(f) for f in findings], sort_keys=True, default=str)
    series = compose.begin(
        kind=iods.REPORT,
        modality="SR",
        attributes=facts,
        record=record,
        grid=boxes[0] if boxes else _ANYWHERE,
        content=compose.identity(
            np.frombuffer(content.encode(), np.uint8), _ANYWHERE, [asdict(r) for r in references]
        ),
        titles=titles,
    )
    shared = Dataset()
    kept = iods.known(iods.REPORT.iod)
    for element in series.shared:
        if element.keyword in kept or element.tag.is_private:
            shared.add(element)
    study = str(shared["StudyInstanceUID"].value)
    known = _known(references, record, facts, study)
    date, time = carry.when(facts)
    put(
        shared,
        {
            "SOPInstanceUID": series.sop(0),
            "InstanceNumber": 1,
            "ContentDate": date,
            "ContentTime": time,
            "Manufacturer": "Somascope",
            "ManufacturerModelName": "Somascope",
            "SoftwareVersions": __version__,
            "CompletionFlag": "COMPLETE",
            "VerificationFlag": "UNVERIFIED",
            "ReferencedPerformedProcedureStepSequence": [],
            "PerformedProcedureCodeSequence": [],
            "ValueType": "CONTAINER",
            "ConceptNameCodeSequence": [coded(tree.REPORT)],
            "ContinuityOfContent": "SEPARATE",
            "ContentTemplateSequence": [{"MappingResource": "DCMR", "TemplateIdentifier": "1500"}],
            **_evidence(known),
            "ContentSequence": [
                tree.code(tree.LANGUAGE, tree.ENGLISH, relation="HAS CONCEPT MOD"),
                *_observer(),
                tree.code(tree.PROCEDURE, _procedure(facts), relation="HAS CONCEPT MOD"),
                text(tree.COMMENT, NOTICE, relation="CONTAINS"),
                *_library(known),
                tree.container(
                    MEASUREMENTS,
                    [_group(g, n, series.uid, series.frame, known) for n, g in _runs(findings)],
                ),
            ],
        },
    )
    if "SeriesDescription" not in shared or shared["SeriesDescription"].is_empty:
        put(shared, {"SeriesDescription": "Findings"})
    carry.complete(shared, iods.REPORT.iod)
    file = Encoder(shared).part10(Dataset(), [])
    validate.demand(file, "the report")
    return file


def _plain(finding: Finding) -> list[Any]:
    facts = {k: v for k, v in vars(finding).items() if k not in ("provenance", "attributes")}
    if isinstance(finding, Box):
        facts["grid"] = _grid(finding.grid)
    return [type(finding).__name__, {k: repr(v) for k, v in facts.items()}]


def _known(
    references: tuple[Reference, ...],
    record: Provenance,
    facts: Mapping[str, Any],
    study: str,
) -> dict[str, Reference]:
    """What can be referenced, by SOP Instance UID."""
    found = {r.sop_uid: r for r in references}
    sop_class = str(facts.get("SOPClassUID") or "")
    if references or not sop_class:
        return found
    for source in record.sources:
        if source.kind == "dicom" and uid.is_usable(source.name):
            for one in source.uids:
                found[one] = Reference(sop_class, one, source.name, study)
    return found


def _evidence(known: Mapping[str, Reference]) -> dict[str, Any]:
    """Current Requested Procedure Evidence (PS3.3 C.17.2.3): all references by study and series."""
    studies: dict[str, dict[str, list[Reference]]] = {}
    for one in known.values():
        studies.setdefault(one.study, {}).setdefault(one.series, []).append(one)
    if not studies:
        return {}
    return {
        "CurrentRequestedProcedureEvidenceSequence": [
            {
                "StudyInstanceUID": study,
                "ReferencedSeriesSequence": [
                    {
                        "SeriesInstanceUID": series,
                        "ReferencedSOPSequence": [
                            {
                                "ReferencedSOPClassUID": r.sop_class,
                                "ReferencedSOPInstanceUID": r.sop_uid,
                            }
                            for r in listed
                        ],
                    }
                    for series, listed in below.items()
                ],
            }
            for study, below in studies.items()
        ]
    }


def _observer() -> Iterator[Dataset]:
    """TID 1001, 1004: a program looked at the images."""
    yield tree.code(tree.OBSERVER, tree.DEVICE, relation="HAS OBS CONTEXT")
    yield tree.reference(tree.DEVICE_UID, uid.derive("device", "Somascope", __version__))
    yield text(tree.DEVICE_NAME, f"Somascope {__version__}")
    yield text(tree.DEVICE_MAKER, "Somascope")
    yield text(tree.DEVICE_MODEL, "Somascope")


def _procedure(facts: Mapping[str, Any]) -> Code:
    items = facts.get("ProcedureCodeSequence") or [{}]
    words = ("CodeValue", "CodingSchemeDesignator", "CodeMeaning")
    value, scheme, meaning = (str(items[0].get(w) or "") for w in words)
    return Code(value, scheme, meaning) if value and scheme and meaning else tree.IMAGING


def _library(known: Mapping[str, Reference]) -> Iterator[Dataset]:
    """TID 1600: the images that were looked at."""
    images = [
        tree.instance(None, r.sop_class, r.sop_uid)
        for r in known.values()
        if tree.is_image(r.sop_class)
    ]
    if images:
        yield tree.container(tree.LIBRARY, [tree.container(tree.LIBRARY_GROUP, images)])


def _runs(findings: Sequence[Finding]) -> Iterator[tuple[int, list[Finding]]]:
    """What follows each other about one lesion at one time goes into one group; others alone."""
    run: list[Finding] = []
    for i, one in enumerate(findings):
        if run and not _together(run[-1], one):
            yield i - len(run) + 1, run
            run = []
        run.append(one)
    yield len(findings) - len(run) + 1, run


def _together(before: Finding, then: Finding) -> bool:
    if before.tracking is None or isinstance(before, Box) or not isinstance(then, Measurement):
        return False
    time = before.time_point if isinstance(before, Measurement) else ""
    return (before.tracking, before.on, time) == (then.tracking, then.on, then.time_point)


def _group(
    run: Sequence[Finding], number: int, series: str, frame: str, known: Mapping[str, Reference]
) -> Dataset:
    """TID 1501, for a box TID 1411 (a volume) or 1410 (within one slice)."""
    finding = run[0]
    name = finding.concept.meaning or finding.concept.value
    mine = Tracking(uid.derive("tracking", series, str(number)), f"{name} {number}")
    tracked = finding.tracking or mine
    children = [
        text(tree.TRACKING, tracked.name or mine.name),
        tree.reference(tree.TRACKING_UID, tracked.uid),
    ]
    if isinstance(finding, Measurement) and finding.time_point:
        children.append(text(tree.TIME_POINT, finding.time_point))
    if finding.provenance.steps:
        step = finding.provenance.steps[-1]
        children.append(text(_ALGORITHM, step.operation, relation="HAS CONCEPT MOD"))
        version = step.version or __version__
        children.append(text(_VERSION, version, relation="HAS CONCEPT MOD"))
    template, seen_on = "1501", SEEN_ON
    children += [_measured(f) for f in run if isinstance(f, Measurement)]
    if not isinstance(finding, Measurement):
        sure = [_certainty(finding.confidence)]
        children.append(tree.code(tree.FINDING, finding.concept, children=sure))
    if isinstance(finding, Label):
        if finding.text:
            children.append(text(tree.COMMENT, finding.text, relation="CONTAINS"))
        for key, value in finding.probabilities.items():
            which = [text(tree.CLASS, key, relation="HAS CONCEPT MOD")]
            children.append(tree.num(tree.PROBABILITY, float(value), "1", children=which))
    if isinstance(finding, Box):
        regions = corners(finding.grid, finding.lower, finding.upper)
        flat = len(regions) == 1
        template, seen_on = ("1410", SEEN_ON) if flat else ("1411", tree.SURFACE_ON)
        children += _regions(finding, regions, tree.REGION if flat else tree.SURFACE, frame)
    children += _seen(finding, known, seen_on)
    return tree.container(GROUP_OF, children, template=template)


def _certainty(value: float) -> Dataset:
    return tree.num(tree.CERTAINTY, float(value), "1", relation="HAS PROPERTIES")


def _measured(finding: Measurement) -> Dataset:
    children: list[Dataset] = []
    if finding.uncertainty is not None:
        children.append(
            tree.num(
                tree.UNCERTAINTY, float(finding.uncertainty), finding.unit,
                relation="HAS PROPERTIES",
            )
        )  # fmt: skip
    if finding.confidence != 1:
        children.append(_certainty(finding.confidence))
    return tree.num(finding.concept, float(finding.value), finding.unit, children=children)


def _regions(box: Box, regions: Sequence[Float], concept: Code, frame: str) -> list[Dataset]:
    place = box.grid.frame_of_reference or frame
    made = [tree.polygon(concept, points.tolist(), place) for points in regions]
    record = {
        "grid": _grid(box.grid),
        "lower": [float(v) for v in box.lower],
        "upper": [float(v) for v in box.upper],
        "on": list(box.on),
    }
    tree.keep(made[0], record)
    return made


def _grid(grid: Grid) -> dict[str, Any]:
    return {
        "shape": list(grid.shape),
        "affine": grid.affine.tolist(),
        "frame": grid.frame_of_reference,
    }


def _seen(finding: Finding, known: Mapping[str, Reference], concept: Code) -> Iterator[Dataset]:
    """What a finding was seen on: references where the class is known, UIDs where it is not."""
    series = {r.series for r in known.values()}
    series |= {s.name for s in finding.provenance.sources if s.kind == "dicom"}
    on = finding.on
    if isinstance(finding, Box) and not on:  # TID 1411 asks for the source; `on` stays empty
        on = tuple(sorted(s for s in series if uid.is_usable(s))[:1])
    for one in on:
        if one in known:
            yield tree.instance(concept, known[one].sop_class, one)
        elif one in series and uid.is_usable(one):
            named = tree.SURFACE_SERIES if concept is tree.SURFACE_ON else tree.SERIES_UID
            yield tree.reference(named, one, relation="CONTAINS")
        elif uid.is_usable(one):
            yield tree.reference(tree.INSTANCE_UID, one, relation="CONTAINS")
        else:
            yield text(SEEN_ON, one, relation="CONTAINS")
