"""A judge of DICOM instances: what we store has passed it (PS3.3, PS3.5, PS3.6, PS3.10).

It knows the Type 1 and Type 2 attributes of the IODs written here (`iods.table`), at the top level
for mandatory modules and below every sequence that is present, the conditions that matter to
images, segmentations and maps, the grammar of every value, and whether geometry and pixels fit.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from io import BytesIO
from typing import Any

from pydicom import dcmread
from pydicom.datadict import dictionary_keyword, dictionary_VM, dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset, FileDataset

from somascope.core.errors import WriteError
from somascope.io.dicom import uid
from somascope.io.dicom.encode import LENGTHS, PATTERNS, allows
from somascope.io.dicom.iods import KINDS, mandatory, table
from somascope.io.dicom.rules import rules

_GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
_SIZES = {"US": 2, "SS": 2, "UL": 4, "SL": 4, "FL": 4, "FD": 8, "AT": 4, "UV": 8, "SV": 8}
_FOREIGN_UID = "not a UID"
_UNJUDGED = {"OB", "OW", "OF", "OD", "OL", "OV", "UN", "SQ"}


def check(part10: bytes | memoryview) -> list[str]:
    """What is wrong with an instance, one line each; an empty list means nothing was found.

    Each line names the attribute (with its path below sequences) and the rule. Storage classes
    that are not written here get the checks that hold for every instance.
    """
    raw = bytes(part10)
    if raw[128:132] != b"DICM":
        return ["the file has no DICM prefix at byte 128 (PS3.10 7.1)"]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what pydicom warns of is judged below
            dataset = dcmread(BytesIO(raw))
            problems = [*_meta(dataset), *_values(dataset, "")]
            kind = KINDS.get(str(dataset.get("SOPClassUID", "")))
            if kind is not None:
                problems += _types(dataset, kind.iod)
            problems += rules(dataset)
    except Exception as error:
        return [f"the file cannot be parsed: {type(error).__name__}: {error}"]
    return problems


def demand(part10: bytes, what: str) -> None:
    """Refuse an instance that `check` finds fault with.

    Identifiers with leading zeros pass: they were given by the source, and another name would
    part the result from its study.

    Raises
    ------
    WriteError
        With the first problems.
    """
    problems = [p for p in check(part10) if _FOREIGN_UID not in p]
    if problems:
        raise WriteError(f"{what} breaks DICOM's rules: {'; '.join(problems[:5])}")


def _meta(dataset: FileDataset) -> Iterator[str]:
    meta = dataset.file_meta
    pairs = (
        ("MediaStorageSOPClassUID", "SOPClassUID"),
        ("MediaStorageSOPInstanceUID", "SOPInstanceUID"),
    )
    for outer, inner in pairs:
        if str(meta.get(outer, "")) != str(dataset.get(inner, "")):
            yield f"{outer} differs from {inner} (PS3.10 7.1)"
    for word in ("TransferSyntaxUID", "ImplementationClassUID", "FileMetaInformationVersion"):
        if not meta.get(word):
            yield f"{word} is missing in the file meta information (PS3.10 7.1)"


def _types(dataset: Dataset, iod: str) -> Iterator[str]:
    for word, kind in mandatory(iod).items():
        yield from _presence(dataset, word, kind, "")
    modules = table()["modules"]
    for name in table()["iods"][iod]:
        yield from _below(dataset, modules[name].get("within", {}), "")


def _presence(dataset: Dataset, word: str, kind: int, path: str) -> Iterator[str]:
    if word not in dataset:
        yield f"{path}{word} is missing (Type {kind})"
    elif kind == 1 and _empty(dataset, word):
        yield f"{path}{word} is empty (Type 1)"


def _empty(dataset: Dataset, word: str) -> bool:
    item = dataset.get_item(word)
    if isinstance(item, RawDataElement) and item.VR != "SQ" and isinstance(item.value, bytes):
        return not item.value.strip(b" \0") and not (_vr(item) in _SIZES and item.value)
    return dataset[word].is_empty


def _below(dataset: Dataset, within: Mapping[str, Any], path: str) -> Iterator[str]:
    for name, branch in within.items():
        if name not in dataset:
            continue
        for number, item in enumerate(dataset[name].value):
            here = f"{path}{name}[{number}]."
            if name not in _GROUPS:
                for kind in (1, 2):
                    for word in branch.get(f"type{kind}", "").split():
                        yield from _presence(item, word, kind, here)
            yield from _below(item, branch.get("within", {}), here)


def _values(dataset: Dataset, path: str) -> Iterator[str]:
    previous = -1
    for tag in dataset._dict:  # noqa: SLF001  # the order in the file; the public one is sorted
        if tag < previous:
            yield f"{path}({tag >> 16:04X},{tag & 0xFFFF:04X}) is out of order (PS3.5 7.1)"
        previous = int(tag)
        item = dataset.get_item(tag)
        name = dictionary_keyword(tag) if _public(tag) else f"({tag >> 16:04X},{tag & 0xFFFF:04X})"
        vr = _vr(item)
        if _public(tag):
            allowed = dictionary_VR(tag).split(" or ")
            if vr not in allowed and vr != "UN":
                yield f"{path}{name} has VR {vr}, PS3.6 says {' or '.join(allowed)}"
                continue
        elif tag & 0xFFFF == 0:
            continue  # group length, retired
        elif (tag >> 16) % 2 == 0:
            yield f"{path}{name} is not in the dictionary (PS3.6)"
            continue
        elif (tag & 0xFFFF) > 0xFF and (tag >> 16, (tag & 0xFFFF) >> 8) not in dataset:
            yield f"{path}{name} has no private creator (PS3.5 7.8.1)"
        if vr == "SQ":
            for number, below in enumerate(dataset[tag].value):
                here = f"{path}{name}[{number}]."
                yield from _values(below, here)
                if name.endswith("CodeSequence"):
                    yield from _code(below, here)
        elif vr not in _UNJUDGED:
            yield from (f"{path}{name} {p}" for p in _value(item, vr, tag))


def _vr(item: DataElement | RawDataElement) -> str:
    """The representation; of several that the dictionary allows (implicit VR) the first."""
    vr = item.VR or (dictionary_VR(item.tag) if _public(item.tag) else "UN")
    return str(vr).split(" or ", maxsplit=1)[0]


def _public(tag: int) -> bool:
    try:
        return bool(dictionary_keyword(tag))
    except KeyError:
        return False


def _code(item: Dataset, path: str) -> Iterator[str]:
    if not any(item.get(w) for w in ("CodeValue", "LongCodeValue", "URNCodeValue")):
        yield f"{path}CodeValue is missing (PS3.3 8.8)"
    elif "URNCodeValue" not in item and not item.get("CodingSchemeDesignator"):
        yield f"{path}CodingSchemeDesignator is missing (PS3.3 8.8)"
    if not item.get("CodeMeaning"):
        yield f"{path}CodeMeaning is missing (PS3.3 8.8)"


def _value(item: DataElement | RawDataElement, vr: str, tag: int) -> Iterator[str]:
    value = item.value
    if not isinstance(item, RawDataElement) or not isinstance(value, bytes):
        return
    if len(value) % 2:
        yield "has an odd length (PS3.5 7.1.1)"
    if vr in _SIZES:
        count = len(value) // _SIZES[vr]
        if len(value) % _SIZES[vr]:
            yield f"has {len(value)} bytes, not a multiple of {_SIZES[vr]} (PS3.5 6.2)"
        if count:
            yield from _multiplicity(count, tag)
        return
    text = value.decode("utf-8", "replace")
    if vr in ("ST", "LT", "UT", "UR"):
        if len(text.rstrip()) > LENGTHS.get(vr, len(text)):
            yield f"is longer than {LENGTHS[vr]} characters (PS3.5 6.2)"
        return
    values = [v.strip(" \0") for v in text.split("\\")] if text.strip(" \0") else []
    if values:
        yield from _multiplicity(len(values), tag)
    for one in values:
        if vr == "UI" and one and not uid.is_valid(one):
            yield f"is {one!r}, {_FOREIGN_UID} (PS3.5 9.1)"
        elif vr == "PN":
            if any(len(group) > 64 for group in one.split("=")):
                yield f"is longer than 64 characters (PS3.5 6.2): {one[:40]!r}..."
        elif vr in LENGTHS and len(one) > LENGTHS[vr]:
            yield f"is longer than {LENGTHS[vr]} characters (PS3.5 6.2): {one[:40]!r}..."
        elif one and vr in PATTERNS and not PATTERNS[vr].fullmatch(one):
            yield f"is {one!r}, which is no {vr} (PS3.5 6.2)"
        elif vr in ("DS", "IS") and len(one) > (16 if vr == "DS" else 12):
            yield f"is {one!r}, longer than {vr} may be (PS3.5 6.2)"


def _multiplicity(count: int, tag: int) -> Iterator[str]:
    if _public(tag) and not allows(dictionary_VM(tag), count):
        yield f"has {count} values, the dictionary says {dictionary_VM(tag)} (PS3.6)"
