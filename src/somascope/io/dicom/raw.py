"""Acquisitions as DICOM Raw Data (PS3.3 A.37, C.19.1): the HDF5 file in a private element."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from io import BytesIO
from pathlib import Path

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset

from somascope.core.acquisition import Acquisition, Scan
from somascope.core.errors import CorruptFile, ReadError, UnsupportedFormat, WriteError
from somascope.core.provenance import Provenance, Source
from somascope.io import acquisition as hdf5
from somascope.io.dicom import carry, compose, iods, uid, validate
from somascope.io.dicom.compose import Titles
from somascope.io.dicom.encode import Encoder, dataset
from somascope.io.dicom.provenance import CREATOR, GROUP

ELEMENT = 0x03
_MOST = 0xFFFFFFFE


def instances(
    acquisition: Acquisition,
    *,
    series_description: str | None = None,
    series_number: int | None = None,
    created: datetime | None = None,
) -> list[bytes]:
    """Part 10 bytes of ``acquisition``: one Raw Data instance in a series of its own.

    Patient, study and frame of reference as in `write.instances`. The samples are in element
    (5353,xx03) of the private creator SOMASCOPE; what made them is said in the attributes that
    every archive shows.

    Raises
    ------
    WriteError
        The operator does not describe itself, or the samples exceed one instance (4 GiB).
    """
    operator = acquisition.operator
    content = hdf5.dump(acquisition)
    assert isinstance(operator, Scan)
    if len(content) > _MOST:
        raise WriteError(
            f"the raw data has {len(content)} bytes, one DICOM instance holds {_MOST}; keep it as "
            "an .h5 file, or store it in parts (views or frames)"
        )
    acquisition = replace(acquisition, attributes=carry.tidy(acquisition.attributes))
    series = compose.begin(
        kind=iods.RAW,
        modality=acquisition.modality,
        attributes=acquisition.attributes,
        record=acquisition.provenance,
        grid=operator.grid,
        content=compose.identity(np.frombuffer(content, np.uint8), operator.grid, operator.kind),
        titles=Titles(series_description or _title(acquisition, operator), series_number, created),
    )
    date, time = carry.when(acquisition.attributes)
    own = dataset(
        {
            "SOPInstanceUID": series.sop(0),
            "InstanceNumber": 1,
            "ContentDate": date,
            "ContentTime": time,
            "CreatorVersionUID": uid.IMPLEMENTATION,
            "AcquisitionContextSequence": [],
            "FrameOfReferenceUID": series.frame,
            "PositionReferenceIndicator": None,
        }
    )
    carry.complete(series.shared, iods.RAW.iod)
    file = Encoder(series.shared).part10(own, [content], keyword="RawData")
    validate.demand(file, "the raw data")
    return [file]


def _title(acquisition: Acquisition, operator: Scan) -> str:
    shape = " x ".join(str(n) for n in acquisition.samples.shape)
    name = str(acquisition.attributes.get("SeriesDescription") or "")
    return f"{name} [raw {operator.kind} {shape}]".strip()[:64]


def read(source: bytes | memoryview | Path) -> Acquisition:
    """The acquisition in a Raw Data instance that Somascope wrote.

    Patient and study are those of the DICOM header, which an archive may have corrected.

    Raises
    ------
    UnsupportedFormat
        Not raw data, or raw data of another vendor, whose format is not public.
    CorruptFile
        Damaged.
    """
    name = source.name if isinstance(source, Path) else "the instance"
    try:
        found = dcmread(source if isinstance(source, Path) else BytesIO(bytes(source)))
    except Exception as error:
        raise ReadError(f"{name} cannot be read as DICOM: {error}") from error
    if str(found.get("SOPClassUID", "")) != iods.RAW.sop_class:
        raise UnsupportedFormat(f"{name}: SOP class {found.get('SOPClassUID')} is not raw data")
    content = _content(found)
    if content is None:
        raise UnsupportedFormat(
            f"{name}: raw data of {found.get('Manufacturer') or 'an unnamed vendor'} "
            f"(creator version {found.get('CreatorVersionUID', 'unknown')}), whose content is "
            "private; export the scanner's open raw format instead"
        )
    try:
        made = hdf5.read(content)
    except CorruptFile as error:
        raise CorruptFile(f"{name}: {error}") from error
    series, sop = str(found.get("SeriesInstanceUID", "")), str(found.get("SOPInstanceUID", ""))
    facts = carry.facts(found)
    own = {
        "SeriesInstanceUID": series,
        "SOPClassUID": iods.RAW.sop_class,
        **{
            word: str(found[word].value)
            for word in ("SeriesDescription", "SeriesNumber", "FrameOfReferenceUID")
            if found.get(word) not in (None, "")
        },
    }
    return replace(
        made,
        provenance=Provenance((Source("dicom", series, (sop,)),)),
        attributes={**made.attributes, **facts, **own},
    )


def _content(found: Dataset) -> bytes | None:
    for slot in range(0x10, 0x100):
        creator = found.get((GROUP, slot))
        if creator is None or str(creator.value).strip() != CREATOR:
            continue
        item = found.get((GROUP, slot << 8 | ELEMENT))
        if item is not None and isinstance(item.value, bytes):
            return item.value
    return None
