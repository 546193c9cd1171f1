"""What a functional run is not complete without and DICOM has no place for: kept beside provenance.

Slice times and the task (the text of a BIDS ``events.tsv``), as JSON, deflated (zlib), in element
05 of our private block (group 5353, private creator ``SOMASCOPE``). The place of the first slice
goes with the times, since readers put slices in the order of their positions.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pydicom.dataelem import DataElement

from somascope.core.grid import Grid
from somascope.io.dicom.elements import Elements
from somascope.io.dicom.provenance import CREATOR, GROUP

KEPT = ("SliceTiming", "Events")
_TAG = GROUP << 16 | 0x1005
_MOST = 16 * 1024 * 1024


def kept(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the attributes that are kept here."""
    return {k: attributes[k] for k in KEPT if attributes.get(k)}


def block(attributes: Mapping[str, Any], grid: Grid) -> list[DataElement]:
    """The private element, where there is something to keep; its creator is in the dataset."""
    record = kept(attributes)
    if not record:
        return []
    record["First"] = list(grid.origin)
    packed = zlib.compress(json.dumps(record, sort_keys=True, default=list).encode(), 9)
    return [DataElement(_TAG, "OB", packed + b"\0" * (len(packed) % 2))]


def read(e: Elements, grid: Grid) -> dict[str, Any]:
    """What was kept, slice times in the order of ``grid``.

    Nothing where there is none or it is damaged: no image needs it.
    """
    if _TAG not in e or e.text(GROUP << 16 | 0x0010) != CREATOR:
        return {}
    try:
        record = json.loads(zlib.decompressobj().decompress(e.raw(_TAG), _MOST))
        events, timing = record.get("Events"), record.get("SliceTiming")
        found = {"Events": events} if isinstance(events, str) else {}
        if timing:
            times = _ordered([float(t) for t in timing], record["First"], grid)
            found |= {"SliceTiming": times} if times else {}
    except (zlib.error, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return {}
    return found


def _ordered(times: list[float], first: Sequence[float], grid: Grid) -> list[float]:
    """The times in the order of ``grid``, which may run the other way; none where it is another."""
    nz, dz = grid.shape[0], grid.spacing[0]
    normal = grid.direction[:, 0]
    steps = float(normal @ (np.asarray(first, np.float64) - grid.origin)) / dz
    if len(times) != nz:
        return []
    if abs(steps) < 0.1:
        return times
    return times[::-1] if abs(steps - (nz - 1)) < 0.1 else []
