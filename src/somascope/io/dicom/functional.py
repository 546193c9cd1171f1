"""Functional groups and dimensions of multi-frame objects (PS3.3 C.7.6.16, C.7.6.17)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset

from somascope.core.finding import Code
from somascope.core.grid import Float
from somascope.core.provenance import Provenance
from somascope.io.dicom import provenance, uid
from somascope.io.dicom.axes import PLACES
from somascope.io.dicom.compose import Series
from somascope.io.dicom.encode import coded, dataset, encode, encode_sequence, put
from somascope.io.dicom.plane import Planes

_PER_FRAME = 0x52009230
_GROUP_OF = {
    "StackID": "FrameContentSequence",
    "InStackPositionNumber": "FrameContentSequence",
    "TemporalPositionIndex": "FrameContentSequence",
    "ImagePositionPatient": "PlanePositionSequence",
    "ReferencedSegmentNumber": "SegmentIdentificationSequence",
    **{p.multi: p.group for p in PLACES.values()},
}
"""Dimension index -> the functional group it is in."""


@dataclass(frozen=True)
class Frame:
    """One frame: where it is, its index along each dimension (from 1), and its own groups."""

    position: Float
    index: tuple[int, ...]
    content: Mapping[str, Any] = field(default_factory=dict[str, Any])
    groups: Mapping[str, Any] = field(default_factory=dict[str, Any])


def arrange(
    target: Dataset,
    series: Series,
    *,
    place: Planes,
    thickness: float,
    dimensions: Sequence[str],
    frames: Sequence[Frame],
    shared: Mapping[str, Any],
) -> dict[int, bytes]:
    """Add the functional group and dimension modules to ``target``.

    The per-frame groups come back encoded, for `Encoder`: groups that many frames have in common
    (the same object) are encoded once.
    """
    measures = {
        "SliceThickness": thickness,
        "SpacingBetweenSlices": place.distance,
        "PixelSpacing": place.spacing,
    }
    organisation = uid.derive("dimensions", series.uid)
    put(
        target,
        {
            "NumberOfFrames": len(frames),
            "SharedFunctionalGroupsSequence": [
                {
                    "PixelMeasuresSequence": [measures],
                    "PlaneOrientationSequence": [{"ImageOrientationPatient": place.orientation}],
                    **shared,
                }
            ],
            "DimensionOrganizationType": "3D" if len(dimensions) == 1 else None,
            "DimensionOrganizationSequence": [{"DimensionOrganizationUID": organisation}],
            "DimensionIndexSequence": [
                {
                    "DimensionOrganizationUID": organisation,
                    "DimensionIndexPointer": tag_for_keyword(word),
                    "FunctionalGroupPointer": tag_for_keyword(_GROUP_OF[word]),
                    "DimensionDescriptionLabel": word,
                }
                for word in dimensions
            ],
            "FrameOfReferenceUID": series.frame,
        },
    )
    if len(dimensions) != 1:
        del target["DimensionOrganizationType"]
    if "PositionReferenceIndicator" not in target:
        put(target, {"PositionReferenceIndicator": None})
    return {_PER_FRAME: encode_sequence(_PER_FRAME, _encoded(frames))}


def _encoded(frames: Sequence[Frame]) -> Iterator[dict[int, bytes]]:
    known: dict[tuple[str, int], dict[int, bytes]] = {}
    for frame in frames:
        content = {**frame.content, "DimensionIndexValues": frame.index}
        item = encode(dataset({"FrameContentSequence": [content]}))
        place = frame.position.tobytes()
        groups = {"PlanePositionSequence": frame.position, **frame.groups}
        for word, value in groups.items():
            # `frames` keeps every object alive, so that an id stands for one object only
            key = (word, hash(place) if word == "PlanePositionSequence" else id(value))
            if key not in known:
                if word == "PlanePositionSequence":
                    value = [{"ImagePositionPatient": frame.position}]  # noqa: PLW2901
                known[key] = encode(dataset({word: value}))
            item |= known[key]
        yield item


def derivation(
    record: Provenance, sources: Sequence[tuple[str, str]], *, default: Code | None = None
) -> dict[str, Any]:
    """The Derivation Image functional group, or nothing where there are no sources."""
    if not sources:
        return {}
    codes = provenance.derivations(record)
    if not codes and default is None:
        verb = record.steps[-1].operation if record.steps else "convert"
        default = Code(verb[:16], "99SOMASCOPE", verb[:64])
    return {
        "DerivationImageSequence": [
            {
                "DerivationCodeSequence": [coded(c) for c in codes or [default] if c],
                "SourceImageSequence": provenance.sources(list(sources)),
            }
        ]
    }


_ANATOMY = {
    "ABDOMEN": ("818981001", "Abdomen"),
    "BRAIN": ("12738006", "Brain"),
    "BREAST": ("76752008", "Breast"),
    "CHEST": ("816094009", "Chest"),
    "HEAD": ("69536005", "Head"),
    "HEART": ("80891009", "Heart"),
    "KNEE": ("72696002", "Knee"),
    "LIVER": ("10200004", "Liver"),
    "NECK": ("45048000", "Neck"),
    "PELVIS": ("816092008", "Pelvis"),
    "PROSTATE": ("41216001", "Prostate"),
}


def anatomy(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """The Frame Anatomy functional group; the whole body where the part is not known."""
    part = str(attributes.get("BodyPartExamined") or "").upper()
    value, meaning = _ANATOMY.get(part, ("38266002", "Entire body"))
    side = str(attributes.get("Laterality") or "")
    return {
        "FrameAnatomySequence": [
            {
                "AnatomicRegionSequence": [coded(Code(value, "SCT", meaning))],
                "FrameLaterality": side if side in ("R", "L") else "U",
            }
        ]
    }
