"""The protocol texts in front of a twix measurement: ASCCONV assignments and XProtocol parameters.

Both are read by looking for the few values that are needed; the grammars are Siemens' own and not
published.
"""

from __future__ import annotations

import re
import struct
from typing import Any

from somascope.core.errors import CorruptFile

_ASSIGNED = re.compile(r"^\s*([\w.\[\]]+)\s*=\s*(.+?)\s*$", re.MULTILINE)
_NAME = re.compile(rb"([A-Za-z]\w{0,47})\0")


def buffers(data: memoryview, start: int, end: int, name: str) -> tuple[dict[str, str], int]:
    """The named texts of a measurement header, and where its readouts begin.

    Layout: header length, number of texts; for each its name with a zero byte, its length, itself.

    Raises
    ------
    CorruptFile
        Lengths that leave the measurement.
    """
    if end - start < 8:
        raise CorruptFile(f"{name} ends before its protocol header")
    length, count = struct.unpack_from("<II", data, start)
    if not 8 <= length <= end - start:
        raise CorruptFile(
            f"{name} declares a protocol header of {length} bytes where {end - start} are left"
        )
    found: dict[str, str] = {}
    position, stop = start + 8, start + length
    for _ in range(min(count, 64)):
        match = _NAME.match(bytes(data[position : min(position + 49, stop)]))
        if match is None or position + match.end() + 4 > stop:
            raise CorruptFile(f"{name}: its protocol header is damaged at byte {position}")
        position += match.end()
        (size,) = struct.unpack_from("<I", data, position)
        position += 4
        if size > stop - position:
            raise CorruptFile(
                f"{name} declares a protocol {match[1].decode()!r} of {size} bytes where "
                f"{stop - position} are left"
            )
        found[match[1].decode("latin-1")] = bytes(data[position : position + size]).decode(
            "latin-1"
        )
        position += size
    return found, stop


class Protocol:
    """Values of a measurement's protocol by name, numbers as numbers."""

    def __init__(self, texts: dict[str, str]) -> None:
        yaps = texts.get("MeasYaps", texts.get("Phoenix", ""))
        begin = yaps.find("### ASCCONV BEGIN")
        if begin >= 0:
            yaps = yaps[begin : yaps.find("### ASCCONV END", begin)]
        self._assigned = {k: _value(v) for k, v in _ASSIGNED.findall(yaps)}
        self._texts = [texts.get(k, "") for k in ("Meas", "Dicom", "Config")]

    def __contains__(self, key: str) -> bool:
        return key in self._assigned

    def get(self, key: str, default: Any = None) -> Any:
        """An ASCCONV value such as ``sKSpace.lBaseResolution``."""
        return self._assigned.get(key, default)

    def number(self, key: str, default: float) -> float:
        """The same as a finite number."""
        value = self._assigned.get(key, default)
        return float(value) if isinstance(value, (int, float)) else default

    def array(self, key: str) -> list[float]:
        """``key[0], key[1] ...`` as far as they go without a gap."""
        out: list[float] = []
        while isinstance(value := self._assigned.get(f"{key}[{len(out)}]"), (int, float)):
            out.append(float(value))
        return out

    def vector(self, key: str) -> tuple[float, float, float]:
        """Sagittal, coronal and transversal component; left out is zero."""
        a, b, c = (self.number(f"{key}.{part}", 0.0) for part in ("dSag", "dCor", "dTra"))
        return a, b, c

    def parameter(self, key: str) -> list[Any]:
        """Values of the first filled XProtocol parameter of that name; empty where none is."""
        pattern = re.compile(r'<Param\w+\."' + re.escape(key) + r'">\s*\{([^{}]{0,4096})\}')
        for text in self._texts:
            for match in pattern.finditer(text):
                body = re.sub(r"<\w+>\s*(\"[^\"]*\"|[-\d.]+)", "", match[1])
                values = [_value(v) for v in re.findall(r"\"[^\"]*\"|[^\s]+", body)]
                if values:
                    return values
        return []

    def text(self, key: str) -> str:
        """The same as text, ``""`` where there is none."""
        values = self.parameter(key)
        return str(values[0]).strip() if values else ""


def _value(text: str) -> Any:
    text = text.split("#", maxsplit=1)[0].strip() if not text.startswith('"') else text.strip()
    if text.startswith('"'):
        return text.strip('"')
    try:
        return int(text, 16) if text.lower().startswith("0x") else int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        return text
