"""A whole data set as DICOM JSON (PS3.18 annex F), bulk data as references, pixels stepped over.

Its own pass, because an archive does this for every instance: about twenty times faster than
building a pydicom Dataset and serialising that.
"""

from __future__ import annotations

import base64
import io
import math
import mmap
import struct
import tempfile
import warnings
import zlib
from functools import cache
from pathlib import Path
from typing import Any

from somascope.core.errors import CorruptFile, NotFound, UnsupportedFormat
from somascope.io.dicom import header_text
from somascope.io.dicom.header_tables import (
    ALL_VRS,
    BIG_ENDIAN,
    DEFLATED,
    GE_PRIVATE,
    IMPLICIT,
    LONG_VRS,
)

BULK_BYTES = 1024
"""Binary values longer than this become a BulkDataURI."""
LONG_BYTES = 1 << 16
"""Numbers and texts longer than this do, too."""
MOST_INFLATED = 2 << 30
CHUNK = 1 << 20
MOST_DEPTH = 64
_BINARY = frozenset(["OB", "OD", "OF", "OL", "OV", "OW", "UN"])
_LONG_TEXT = frozenset(["LT", "ST", "UT", "UR"])
_CHARSET = frozenset(["LO", "LT", "PN", "SH", "ST", "UC", "UT"])
_NUMBERS = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "UV": "Q", "SV": "q", "FL": "f", "FD": "d"}
_PIXELS = frozenset([0x7FE00010, 0x7FE00008, 0x7FE00009])
_UNDEFINED = 0xFFFFFFFF
_NAMES = ("Alphabetic", "Ideographic", "Phonetic")


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
    from somascope.io.dicom.header import scan

    if isinstance(source, Path):
        with source.open("rb") as file:
            if source.stat().st_size == 0:
                raise CorruptFile(f"{source.name}: is empty (0 bytes)")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
                whole = memoryview(mapped)
                try:
                    return metadata(
                        whole, transfer_syntax=transfer_syntax, bulk_uri=bulk_uri,
                        bulk_bytes=bulk_bytes,
                    )  # fmt: skip
                finally:
                    whole.release()
    found = scan(source, transfer_syntax=transfer_syntax, wanted={})
    start, data = found.dataset_offset, source
    if found.transfer_syntax == DEFLATED:
        return _inflated(source, start, bulk_uri, bulk_bytes)
    return _parsed(data, start, found.transfer_syntax, bulk_uri, bulk_bytes)


def _inflated(
    source: bytes | memoryview, start: int, bulk_uri: str, bulk_bytes: int
) -> dict[str, Any]:
    """Of a deflated data set: inflated into a file, since a megabyte may become a gigabyte."""
    inflate = zlib.decompressobj(-15)
    with tempfile.TemporaryFile() as file:
        size, at = 0, start
        try:
            while not inflate.eof and at < len(source):
                packed = bytes(source[at : at + CHUNK])
                at += len(packed)
                while packed:
                    size += file.write(inflate.decompress(packed, CHUNK))
                    packed = inflate.unconsumed_tail
                    if size > MOST_INFLATED:
                        raise CorruptFile(f"inflates to more than {MOST_INFLATED} bytes; refused")
            size += file.write(inflate.flush())
        except zlib.error as error:
            raise CorruptFile(f"the deflated data set is damaged: {error}") from error
        file.flush()
        if not size:
            return {}
        with (
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
            memoryview(mapped) as whole,
        ):
            return _parsed(whole, 0, DEFLATED, bulk_uri, bulk_bytes)


def _parsed(
    data: bytes | memoryview, start: int, syntax: str, bulk_uri: str, bulk_bytes: int
) -> dict[str, Any]:
    parser = _Parser(data, ">" if syntax == BIG_ENDIAN else "<", bulk_bytes)
    explicit = syntax not in (IMPLICIT, GE_PRIVATE)
    if explicit and bytes(data[start + 4 : start + 6]) not in ALL_VRS:
        explicit = False
    try:
        return parser.object(start, len(data), explicit, "", bulk_uri, 0)[0]
    except (struct.error, IndexError) as error:
        raise CorruptFile(f"an element of a sequence is longer than its item: {error}") from error


@cache
def _vr(tag: int) -> str:
    """The VR of a tag in implicit encoding, or several (``"US or SS"``)."""
    from pydicom.datadict import dictionary_VR

    group, element = tag >> 16, tag & 0xFFFF
    if group % 2:
        return "LO" if 0x10 <= element <= 0xFF else "UN"
    if element == 0:
        return "UL"
    try:
        return dictionary_VR(tag)
    except KeyError:
        return "UN"


class _Parser:
    """Reads elements out of one buffer."""

    def __init__(self, buf: bytes | memoryview, order: str, bulk_bytes: int) -> None:
        self.buf, self.order, self.bulk_bytes = buf, order, bulk_bytes
        self.signed = False
        self._narrow = struct.Struct(order + "HHI").unpack_from
        self._wide = struct.Struct(order + "HH2sH").unpack_from

    def object(
        self, p: int, end: int, explicit: bool, charset: str, uri: str, depth: int  # noqa: FBT001
    ) -> tuple[dict[str, Any], int]:  # fmt: skip
        """The elements from ``p`` to ``end`` or an item delimiter, and where they end."""
        buf, result, raw = self.buf, {}, b""
        if depth > MOST_DEPTH:
            raise CorruptFile(f"sequences are nested more than {MOST_DEPTH} deep; refused")
        while p + 8 <= end:
            if explicit:
                group, element, raw, length = self._wide(buf, p)
                p += 8
                if group == 0xFFFE:
                    return result, p
                if raw in LONG_VRS:
                    (length,) = struct.unpack_from(self.order + "I", buf, p)
                    p += 4
                elif raw not in ALL_VRS:
                    break
                tag = group << 16 | element
                vr = raw.decode()
            else:
                group, element, length = self._narrow(buf, p)
                p += 8
                if group == 0xFFFE:
                    return result, p
                tag = group << 16 | element
                vr = ""
            key = f"{tag:08X}"
            if not vr or (vr == "UN" and length != _UNDEFINED):
                vr = self._choose(tag, length)
            if length == _UNDEFINED:
                implicit = vr == "UN" or not explicit
                if tag in _PIXELS or vr in ("OB", "OW"):  # values in fragments
                    result[key] = {"vr": "OB", "BulkDataURI": f"{uri}/{key}"}
                    p = self._skip(p, end)
                    continue
                items, p = self._items(p, end, not implicit, charset, f"{uri}/{key}", depth)
                result[key] = {"vr": "SQ", "Value": items} if items else {"vr": "SQ"}
                continue
            stop = p + length
            if stop > end:
                raise CorruptFile(
                    f"element ({group:04x},{element:04x}) declares {length} bytes in an item that "
                    f"has {end - p}; send or copy it again"
                )
            if tag in _PIXELS:
                result[key] = {"vr": vr, "BulkDataURI": f"{uri}/{key}"}
            elif vr == "SQ":
                nested = explicit and raw != b"UN"  # PS3.5 6.2.2 note 2
                items, _ = self._items(p, stop, nested, charset, f"{uri}/{key}", depth)
                result[key] = {"vr": "SQ", "Value": items} if items else {"vr": "SQ"}
            elif element and tag != 0xFFFCFFFC and group != 2:
                result[key] = found = self._element(vr, p, stop, charset, f"{uri}/{key}")
                if tag == 0x00080005:
                    charset = "\\".join(v or "" for v in found.get("Value", ()))
                elif tag == 0x00280103:
                    self.signed = found.get("Value") == [1]
            p = stop
        return result, p

    def _choose(self, tag: int, length: int) -> str:
        vr = _vr(tag)
        if len(vr) == 2:
            return vr
        if "OW" in vr and ("OB" in vr or length > 6):
            return "OW"
        return "SS" if self.signed and "SS" in vr else vr[:2]

    def _items(
        self, p: int, end: int, explicit: bool, charset: str, uri: str, depth: int  # noqa: FBT001
    ) -> tuple[list[dict[str, Any]], int]:  # fmt: skip
        items: list[dict[str, Any]] = []
        while p + 8 <= end:
            group, element, length = self._narrow(self.buf, p)
            p += 8
            if (group, element) != (0xFFFE, 0xE000):
                break
            stop = end if length == _UNDEFINED else p + length
            if stop > end:
                raise CorruptFile(f"an item declares {length} bytes where {end - p} are there")
            where = f"{uri}/{len(items)}"
            item, after = self.object(p, stop, explicit, charset, where, depth + 1)
            items.append(item)
            p = after if length == _UNDEFINED else stop
        return items, p

    def _skip(self, p: int, end: int) -> int:
        """Behind the fragments of encapsulated pixels."""
        while p + 8 <= end:
            _, element, length = self._narrow(self.buf, p)
            p += 8
            if element != 0xE000:
                break
            p += length
        return p

    def _element(self, vr: str, p: int, stop: int, charset: str, uri: str) -> dict[str, Any]:
        if p == stop:
            return {"vr": vr}
        if vr in _BINARY:
            if stop - p > self.bulk_bytes:
                return {"vr": vr, "BulkDataURI": uri}
            return {"vr": vr, "InlineBinary": base64.b64encode(self.buf[p:stop]).decode()}
        if stop - p > LONG_BYTES:
            return {"vr": vr, "BulkDataURI": uri}
        raw = bytes(self.buf[p:stop])
        if vr in _NUMBERS:
            code = _NUMBERS[vr]
            n = len(raw) // struct.calcsize(code)
            values: list[Any] = list(struct.unpack_from(f"{self.order}{n}{code}", raw))
            if vr in ("FL", "FD"):
                values = [v if math.isfinite(v) else None for v in values]
            return {"vr": vr, "Value": values} if values else {"vr": vr}
        if vr == "AT":
            pairs = struct.unpack_from(f"{self.order}{len(raw) // 4 * 2}H", raw)
            tags = [f"{g:04X}{e:04X}" for g, e in zip(pairs[::2], pairs[1::2], strict=True)]
            return {"vr": vr, "Value": tags} if tags else {"vr": vr}
        if vr in _CHARSET:
            text = header_text.text(raw, charset, person=vr == "PN")
        else:
            text = header_text.plain(raw)
        if not text:
            return {"vr": vr}
        parts = [text] if vr in _LONG_TEXT else [v.strip() for v in text.split("\\")]
        if vr == "PN":
            names = (dict(zip(_NAMES, v.split("="), strict=False)) for v in parts)
            return {"vr": vr, "Value": [{k: g for k, g in n.items() if g} or None for n in names]}
        if vr in ("IS", "DS"):
            return {"vr": vr, "Value": [_number(v) for v in parts]}
        return {"vr": vr, "Value": [v or None for v in parts]}


def _number(text: str) -> int | float | str | None:
    """A JSON number; the text itself where it is none (PS3.18 F.2.3.1)."""
    if not text:
        return None
    try:
        return int(text)
    except ValueError:
        pass
    try:
        value = float(text)
    except ValueError:
        return text
    return value if math.isfinite(value) else text


def bulk(
    source: bytes | memoryview | Path, path: str, *, transfer_syntax: str | None = None
) -> bytes:
    """The bytes of one binary value, ``path`` as in `metadata` (``TAG`` or ``TAG/item/TAG``)."""
    dataset: Any = _read(source, transfer_syntax)
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


def _read(source: bytes | memoryview | Path, transfer_syntax: str | None) -> Any:
    import pydicom

    from somascope.io.dicom.header_meta import wrap

    if transfer_syntax is not None:
        data = source.read_bytes() if isinstance(source, Path) else bytes(source)
        source = wrap(sop_class="", sop_uid="", transfer_syntax=transfer_syntax) + data
    file: Any = source if isinstance(source, Path) else io.BytesIO(source)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what pydicom finds odd was said by the header pass
        try:
            return pydicom.dcmread(file, force=True)
        except UnsupportedFormat:
            raise
        except Exception as error:
            raise CorruptFile(f"the data set cannot be read in full: {error}") from error
