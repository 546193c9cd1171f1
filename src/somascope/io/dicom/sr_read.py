"""Structured reports, ours and foreign ones, as findings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset

from somascope.core.errors import CorruptFile, ReadError, SomascopeError, UnsupportedFormat
from somascope.core.finding import Box, Code, Label, Measurement, Tracking
from somascope.core.grid import Float, Grid
from somascope.core.provenance import Provenance, Source
from somascope.io.dicom import sr_tree as tree
from somascope.io.dicom import uid
from somascope.io.dicom.carry import facts
from somascope.io.dicom.provenance import NOTICE

FINDINGS = (Label, Box, Measurement)
_Finding: TypeAlias = Label | Box | Measurement

_BASE = "1.2.840.10008.5.1.4.1.1.88."
CLASSES = tuple(_BASE + n for n in ("11", "22", "33", "34", "35", "50", "65", "67", "68", "69"))
"""Reports whose numbers are read: text, enhanced, comprehensive, 3D, extensible, CAD, dose."""

_SILENT = frozenset(
    c.value
    for c in (
        *(tree.LANGUAGE, tree.OBSERVER, tree.DEVICE_UID, tree.DEVICE_NAME, tree.DEVICE_MAKER),
        *(tree.DEVICE_MODEL, tree.PROCEDURE, tree.TRACKING, tree.TRACKING_UID, tree.CLASS),
    )
) | {"121046", "121008", "111001", "111003", "112227"}
"""What a report says of itself (language, observer, procedure, names), not of the patient."""

_CONTAINERS = ("HAS OBS CONTEXT", "HAS ACQ CONTEXT")
_CERTAIN = frozenset((tree.CERTAINTY.value,))
_UNCERTAIN = frozenset((tree.UNCERTAINTY.value,))
_DERIVATION = "121401"
_FOUND = tree.FINDING.value


@dataclass(eq=False)
class Report:
    """``findings`` in their order; ``notes``: what the document says that they do not hold."""

    findings: list[_Finding] = field(default_factory=list[_Finding])
    notes: list[str] = field(default_factory=list[str])
    series: str = ""


def read(source: bytes | memoryview | Path | Dataset) -> Report:
    """The findings in a structured report.

    Every number with a unit is a `Measurement` with the images of its group, its derivation in the
    meaning of the concept (``SUVbw, Maximum``); every coded Finding of a group a `Label`; what
    `sr.instances` wrote comes back as it was. Other content (regions drawn on images, sites, other
    coded or free answers) is named in ``notes``, once for each kind.

    Raises
    ------
    UnsupportedFormat
        Not a structured report.
    ReadError
        Not DICOM.
    CorruptFile
        No content tree.
    """
    dataset = _open(source)
    sop_class = str(dataset.get("SOPClassUID", ""))
    if sop_class not in CLASSES:
        raise UnsupportedFormat(f"SOP class {sop_class!r} is not a structured report read here")
    if "ContentSequence" not in dataset:
        raise CorruptFile("the structured report has no ContentSequence; it says nothing")
    series, sop = str(dataset.get("SeriesInstanceUID", "")), str(dataset.get("SOPInstanceUID", ""))
    attributes = {**facts(dataset), "SeriesInstanceUID": series, "SOPClassUID": sop_class}
    walk = _Walk(Provenance((Source("dicom", series, (sop,)),)), attributes)
    try:
        walk.below(dataset, (), 0)
    except (ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
        raise CorruptFile(f"the content tree of the report is damaged: {error}") from error
    return Report(walk.findings, [_counted(k, n) for k, n in walk.left.items()], series)


def _open(source: bytes | memoryview | Path | Dataset) -> Dataset:
    if isinstance(source, Dataset):
        return source
    name = source.name if isinstance(source, Path) else "the bytes"
    try:
        return dcmread(source if isinstance(source, Path) else BytesIO(bytes(source)))
    except Exception as error:
        raise ReadError(f"{name} cannot be read as DICOM: {error}") from error


def _counted(what: str, count: int) -> str:
    return f"{what} is not read as a finding" + (f" ({count} times)" if count > 1 else "")


def _code(item: Dataset, word: str) -> Code:
    found = item.get(word) or []
    if not found:
        return Code("", "", "")
    one = found[0]
    value = one.get("CodeValue") or one.get("LongCodeValue") or one.get("URNCodeValue") or ""
    return Code(
        str(value), str(one.get("CodingSchemeDesignator") or ""), str(one.get("CodeMeaning") or "")
    )


def name_of(item: Dataset) -> Code:
    """The concept name of a content item; empty where it has none."""
    return _code(item, "ConceptNameCodeSequence")


def _children(item: Dataset) -> list[Dataset]:
    return list(item.get("ContentSequence") or [])


class _Walk:
    """Goes through the tree, once, and keeps what it finds and what it leaves."""

    def __init__(self, provenance: Provenance, attributes: dict[str, Any]) -> None:
        self.findings: list[_Finding] = []
        self.left: dict[str, int] = {}
        self._facts: dict[str, Any] = {"provenance": provenance, "attributes": attributes}
        self._series = provenance.sources[0].name
        self._tracked: Tracking | None = None
        self._time = ""

    def below(self, parent: Dataset, on: tuple[str, ...], depth: int) -> None:
        if depth > 64:
            raise CorruptFile("the content tree of the report is more than 64 levels deep")
        for item in _children(parent):
            name, kind = name_of(item), str(item.get("ValueType"))
            if item.get("RelationshipType") in _CONTAINERS or name.value in _SILENT:
                continue
            if kind == "NUM":
                self._number(item, on)
            elif kind == "CONTAINER" and name.value == tree.LIBRARY.value:
                continue
            elif kind == "CONTAINER" and name.value == tree.GROUP_OF.value:
                before = self._tracked, self._time
                self._group(item, depth + 1)
                self._tracked, self._time = before
            elif kind == "CONTAINER":
                self.below(item, on, depth + 1)
            elif kind == "CODE" and name.value == _FOUND:
                self._label(item, on, {}, "")
            else:
                self._leave(item)

    def _leave(self, item: Dataset) -> None:
        if str(item.get("TextValue") or "") == NOTICE:
            return
        kind = str(item.get("ValueType") or "reference")
        name = name_of(item).meaning or "an item without a name"
        form = f" {item.GraphicType}" if "GraphicType" in item else ""
        said = f"{name} ({kind}{form})"
        self.left[said] = self.left.get(said, 0) + 1
        for child in _children(item):
            if child.get("ValueType") == "NUM":
                self._number(child, ())

    def _group(self, group: Dataset, depth: int) -> None:
        """One measurement group (TID 1501, 1410, 1411)."""
        items = _children(group)
        drawn = [c for i in items if i.get("ValueType") == "SCOORD" for c in _children(i)]
        on = tuple(dict.fromkeys(u for i in [*items, *drawn] for u in _seen(i)))
        spread: dict[str, float] = {}
        labels: list[Dataset] = []
        record: dict[str, Any] = {}
        regions: list[Dataset] = []
        self._tracked, self._time = _tracked(items), _said(items, tree.TIME_POINT)
        mine = uid.derive("tracking", self._series, str(len(self.findings) + 1))
        if self._tracked is not None and self._tracked.uid == mine:
            self._tracked = None  # the standard wants a UID; this one says only: the n-th finding
        why = _said(items, tree.COMMENT)
        for item in items:
            name, kind = name_of(item), str(item.get("ValueType"))
            if kind == "SCOORD3D":
                regions.append(item)
                record = record or tree.kept(item)
            elif name.value == tree.PROBABILITY.value and _class(item):
                spread[_class(item)] = _value(item)[0]
            elif name.value == _FOUND and kind == "CODE":
                labels.append(item)
        box = _recorded(record, regions)
        for item in items:
            name, kind = name_of(item), str(item.get("ValueType"))
            if (
                item.get("RelationshipType") in _CONTAINERS
                or name.value in _SILENT
                or next(_seen(item), None)
                or (name.value == tree.PROBABILITY.value and _class(item))
                or (box and kind == "SCOORD3D")
                or (labels and not box and why and name.value == tree.COMMENT.value)
            ):
                continue
            if item in labels:
                if box:
                    self._box(item, box, tuple(record.get("on", on)))
                else:
                    self._label(item, on, spread, why)
            elif kind == "NUM":
                self._number(item, on)
            elif kind == "CONTAINER":
                self.below(item, on, depth + 1)
            else:
                self._leave(item)

    def _label(
        self, item: Dataset, on: tuple[str, ...], spread: dict[str, float], why: str
    ) -> None:
        concept = _code(item, "ConceptCodeSequence")
        if not concept.value:
            self._leave(item)
            return
        sure, rest = _properties(item, _CERTAIN)
        self._rest(rest)
        self.findings.append(
            Label(concept=concept, confidence=_share(sure), on=on, probabilities=spread,
                  text=why, tracking=self._tracked, **self._facts)
        )  # fmt: skip

    def _box(self, item: Dataset, box: tuple[Grid, Any, Any], on: tuple[str, ...]) -> None:
        sure, rest = _properties(item, _CERTAIN)
        self._rest(rest)
        grid, lower, upper = box
        self.findings.append(
            Box(concept=_code(item, "ConceptCodeSequence"), confidence=_share(sure), grid=grid,
                lower=lower, upper=upper, on=on, tracking=self._tracked, **self._facts)
        )  # fmt: skip

    def _number(self, item: Dataset, on: tuple[str, ...]) -> None:
        concept, (value, unit) = name_of(item), _value(item)
        if not concept.value or unit is None:
            self._leave(item)
            return
        sure, rest = _properties(item, _CERTAIN)
        spread, rest = _properties_of(rest, _UNCERTAIN)
        derived = next((i for i in rest if name_of(i).value == _DERIVATION), None)
        if derived is not None:
            how = _code(derived, "ConceptCodeSequence").meaning
            concept = Code(concept.value, concept.scheme, f"{concept.meaning}, {how}")
            rest = [i for i in rest if i is not derived]
        inner = tuple(u for i in rest for u in _seen(i))
        self._rest([i for i in rest if not next(_seen(i), None)])
        self.findings.append(
            Measurement(
                concept=concept, value=value, unit=unit,
                uncertainty=_value(spread)[0] if spread is not None else None,
                confidence=_share(sure), on=inner or on, time_point=self._time,
                tracking=self._tracked, **self._facts,
            )
        )  # fmt: skip

    def _rest(self, items: Sequence[Dataset]) -> None:
        for item in items:
            if item.get("RelationshipType") not in _CONTAINERS:
                self._leave(item)


def _said(items: Sequence[Dataset], concept: Code) -> str:
    """The first text of that name."""
    named = (i for i in items if name_of(i).value == concept.value)
    return next((str(i.get("TextValue") or "") for i in named), "")


def _tracked(items: Sequence[Dataset]) -> Tracking | None:
    named = (i for i in items if name_of(i).value == tree.TRACKING_UID.value)
    found = next((str(i.get("UID") or "") for i in named), "")
    return Tracking(found, _said(items, tree.TRACKING)) if found else None


def _class(item: Dataset) -> str:
    """The class that a probability is of."""
    named = (c for c in _children(item) if name_of(c) == tree.CLASS)
    return next((str(c.get("TextValue") or "") for c in named), "")


def _properties(item: Dataset, codes: frozenset[str]) -> tuple[Dataset | None, list[Dataset]]:
    return _properties_of(_children(item), codes)


def _properties_of(
    items: Sequence[Dataset], codes: frozenset[str]
) -> tuple[Dataset | None, list[Dataset]]:
    """The first number whose name is one of ``codes``, and the other items."""
    found = next(
        (i for i in items if i.get("ValueType") == "NUM" and name_of(i).value in codes), None
    )
    return found, [i for i in items if i is not found]


def _value(item: Dataset) -> tuple[float, str | None]:
    """The number and its unit (UCUM where the document says so); no unit: nothing was measured."""
    measured = item.get("MeasuredValueSequence") or []
    if not measured:
        qualifier = _code(item, "NumericValueQualifierCodeSequence").value
        for text, code in tree.QUALIFIERS.items():
            if code.value == qualifier:
                return float(text), str(tree.kept(item).get("unit", "1"))
        return float("nan"), None
    one = measured[0]
    exact = one.get("FloatingPointValue")
    value = one.get("NumericValue") if exact is None else exact
    if value is None or value == "":
        return float("nan"), None
    value = value[0] if hasattr(value, "append") else value
    unit = _code(one, "MeasurementUnitsCodeSequence")
    return float(value), (unit.value if unit.scheme == "UCUM" else unit.meaning) or "1"


def _share(item: Dataset | None) -> float:
    """A certainty from 0 to 1."""
    if item is None:
        return 1.0
    value, unit = _value(item)
    return value / 100 if unit == "%" else value


def _seen(item: Dataset) -> Any:
    """What an item of a group says that the group was seen on."""
    kind, name = str(item.get("ValueType")), name_of(item)
    if item.get("RelationshipType") not in ("CONTAINS", "INFERRED FROM", "SELECTED FROM"):
        return
    if kind in ("IMAGE", "COMPOSITE"):
        for pointed in item.get("ReferencedSOPSequence") or []:
            if "ReferencedSegmentNumber" not in pointed:
                yield str(pointed.get("ReferencedSOPInstanceUID"))
    elif kind == "UIDREF" and name.value in (
        tree.INSTANCE_UID.value, tree.SERIES_UID.value, tree.SURFACE_SERIES.value
    ):  # fmt: skip
        yield str(item.UID)
    elif kind == "TEXT" and name.value == tree.SEEN_ON.value:
        yield str(item.TextValue)


def corners(grid: Grid, lower: Sequence[float], upper: Sequence[float]) -> list[Float]:
    """Outlines (4, 3) in LPS mm of a box: around its voxels in its first and its last slice.

    One outline where those are the same slice.
    """
    (z0, y0, x0), (z1, y1, x1) = lower, upper
    ring = ((y0 - 0.5, x0 - 0.5), (y0 - 0.5, x1 + 0.5), (y1 + 0.5, x1 + 0.5), (y1 + 0.5, x0 - 0.5))
    return [
        grid.to_world(np.array([(z, y, x) for y, x in ring]))
        for z in ([z0] if z0 == z1 else [z0, z1])
    ]


def _recorded(
    record: dict[str, Any], regions: Sequence[Dataset]
) -> tuple[Grid, tuple[float, ...], tuple[float, ...]] | None:
    """The exact box, where there is one and it is the one that the polygons show."""
    if not record or not regions:
        return None
    try:
        said = record["grid"]
        grid = Grid(tuple(said["shape"]), np.array(said["affine"]), str(said["frame"]))
        lower, upper = (tuple(float(v) for v in record[k]) for k in ("lower", "upper"))
        shown = corners(grid, lower, upper)
    except (KeyError, TypeError, ValueError, SomascopeError):
        return None
    if len(shown) != len(regions):
        return None
    for points, region in zip(shown, regions, strict=True):
        drawn = np.array(region.GraphicData, np.float64).reshape(-1, 3)[:-1]
        near = 1e-3 + 1e-6 * np.abs(points).max()
        if drawn.shape != points.shape or np.abs(drawn - points).max() > near:
            return None
    return grid, lower, upper
