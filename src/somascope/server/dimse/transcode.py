"""A stored instance in plain encoding, for a peer that does not take it as it is stored."""

from __future__ import annotations

import tempfile
import warnings
from io import BytesIO
from pathlib import Path

from somascope.io.dicom.header import scan
from somascope.server.dimse.negotiate import EXPLICIT, IMPLICIT


def plain(source: Path | memoryview, *, transfer_syntax: str) -> bytes:
    """The data set of a Part 10 file in explicit or implicit VR little endian, pixels decoded.

    Colour that was compressed as YBR comes out as RGB and says so.

    Raises
    ------
    SomascopeError
        The file is damaged, or its compression cannot be decoded.
    """
    from somascope.server.dicomweb.transcode import explicit_file

    if isinstance(source, Path):
        explicit = explicit_file(source)
    else:
        with tempfile.NamedTemporaryFile(suffix=".dcm") as file:
            file.write(source)
            file.flush()
            explicit = explicit_file(Path(file.name))
    if transfer_syntax == EXPLICIT:
        return explicit[scan(explicit, wanted={}).dataset_offset :]
    assert transfer_syntax == IMPLICIT
    return _implicit(explicit)


def _implicit(explicit: bytes) -> bytes:
    from pydicom import dcmread
    from pydicom.filebase import DicomBytesIO
    from pydicom.filewriter import write_dataset

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is odd about it was said when it was stored
        dataset = dcmread(BytesIO(explicit))
        out = DicomBytesIO()
        out.is_little_endian = out.is_implicit_VR = True
        write_dataset(out, dataset)
    return out.getvalue()
