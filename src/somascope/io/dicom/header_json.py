"""A whole data set as DICOM JSON (PS3.18 annex F), bulk data as references: the slow, full pass."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from somascope.core.errors import CorruptFile, NotFound

if TYPE_CHECKING:
    from pydicom import DataElement, Dataset

BULK_BYTES = 1024
"""Binary values longer than this become a BulkDataURI."""
_BINARY = frozenset(["OB", "OD", "OF", "OL", "OV", "OW", "UN"])
_PIXELS = {0x7FE00010, 0x7FE00008, 0x7FE00009}


def metadata(
    source: bytes | memoryview | Path,
    *,
    transfer_syntax: str | None = None,
    bulk_uri: str = "",
    bulk_bytes: int = BULK_BYTES,
) -> dict[str, Any]:
    """The data set without pixels in the DICOM JSON model (PS3.18 F.2).

    ``bulk_uri`` is put before the path of each long binary value, e.g.
    ``{bulk_uri}/7FE00010`` or, in an item, ``{bulk_uri}/54000100/0/54001010``; `bulk` takes that
    path. File Meta Information is not part of the model and left out.
    """
    dataset = _read(source, transfer_syntax, pixels=True)
    result = _object(dataset, bulk_uri, bulk_bytes)
    for tag in sorted(_PIXELS & {int(e) for e in dataset.keys()}):  # noqa: SIM118
        vr = "OW" if tag == 0x7FE00010 else "OF" if tag == 0x7FE00008 else "OD"
        result[f"{tag:08X}"] = {"vr": vr, "BulkDataURI": f"{bulk_uri}/{tag:08X}"}
    return result


def bulk(
    source: bytes | memoryview | Path, path: str, *, transfer_syntax: str | None = None
) -> bytes:
    """The bytes of one binary value, ``path`` as in `metadata` (``TAG`` or ``TAG/item/TAG``)."""
    dataset: Any = _read(source, transfer_syntax, pixels=True)
    parts = path.strip("/").split("/")
    try:
        for tag, item in zip(parts[:-1:2], parts[1::2], strict=False):
            dataset = dataset[int(tag, 16)].value[int(item)]
        value = dataset[int(parts[-1], 16)].value
    except (KeyError, ValueError, IndexError, TypeError, AttributeError) as error:
        raise NotFound(f"no bulk data at {path!r} in this instance") from error
    if isinstance(value, str):
        return value.encode()
    if not isinstance(value, (bytes, bytearray)):
        raise NotFound(f"{path!r} is no binary attribute")
    return bytes(value)


def _read(
    source: bytes | memoryview | Path, transfer_syntax: str | None, *, pixels: bool = False
) -> Dataset:
    import pydicom
    from pydicom.dataset import FileMetaDataset

    file: Any = source if isinstance(source, Path) else io.BytesIO(source)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what pydicom finds odd was said by the header pass
        try:
            if transfer_syntax is None:
                return pydicom.dcmread(
                    file, force=True, stop_before_pixels=not pixels, defer_size=None
                )
            from pydicom.filebase import DicomFileLike
            from pydicom.filereader import read_dataset
            from pydicom.uid import UID

            syntax = UID(transfer_syntax)
            if isinstance(file, Path):
                file = io.BytesIO(file.read_bytes())
            if syntax.is_deflated:
                import zlib

                file = io.BytesIO(zlib.decompressobj(-15).decompress(file.read()))
            stop = None if pixels else (lambda tag, _vr, _length: int(tag) in _PIXELS)
            dataset = read_dataset(
                cast("Any", DicomFileLike(file)),
                syntax.is_implicit_VR,
                syntax.is_little_endian,
                stop_when=stop,
            )
            dataset.file_meta = FileMetaDataset()
            return dataset
        except Exception as error:
            raise CorruptFile(f"the data set cannot be read in full: {error}") from error


def _object(dataset: Dataset, uri: str, limit: int) -> dict[str, Any]:
    result: dict[str, Any] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for tag in sorted(dataset.keys()):
            if int(tag) in _PIXELS or tag.group == 0x0002 or tag.element == 0:
                continue
            key = f"{int(tag):08X}"
            try:
                result[key] = _element(dataset[tag], f"{uri}/{key}", limit)
            except Exception:  # one unreadable value must not hide the others
                result[key] = {"vr": "UN"}
    return result


def _element(element: DataElement, uri: str, limit: int) -> dict[str, Any]:
    vr = str(element.VR)[:2]
    if vr == "SQ":
        items = [_object(item, f"{uri}/{i}", limit) for i, item in enumerate(element.value)]
        return {"vr": "SQ", "Value": items} if items else {"vr": "SQ"}
    if vr in _BINARY and isinstance(element.value, (bytes, bytearray)):
        if len(element.value) > limit:
            return {"vr": vr, "BulkDataURI": uri}
        if not element.value:
            return {"vr": vr}
    return element.to_json_dict(None, 0)
