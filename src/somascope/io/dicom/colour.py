"""Colour as stored becomes RGB (PS3.3 C.7.6.3.1.2 and C.7.6.3.1.5)."""

from __future__ import annotations

import numpy as np

from somascope.core.errors import CorruptFile
from somascope.core.grid import Array
from somascope.io.dicom.elements import Elements

_FULL = np.array([[1, 0, 1.402], [1, -0.344136286, -0.714136286], [1, 1.772, 0]], np.float32)
_PARTIAL = np.array(
    [[1.1644, 0, 1.5960], [1.1644, -0.3917, -0.8130], [1.1644, 2.0173, 0]], np.float32
)


def rgb_from_ybr(frame: Array, *, partial: bool = False) -> Array:
    """YBR_FULL (or YBR_PARTIAL) ``(..., 3)`` of 8 or 16 bits to RGB of the same type."""
    bits = frame.dtype.itemsize * 8
    values = frame.astype(np.float32)
    values[..., 1:] -= 1 << (bits - 1)
    if partial:
        values[..., 0] -= 16 << (bits - 8)
    matrix = _PARTIAL if partial else _FULL
    result = values @ matrix.T
    return np.clip(np.rint(result), 0, (1 << bits) - 1).astype(frame.dtype)


def upsampled_422(samples: Array, rows: int, columns: int) -> Array:
    """Native 4:2:2 ``Y Y B R Y Y B R ...`` to ``(rows, columns, 3)``."""
    quads = samples.reshape(rows, columns // 2, 4)
    frame = np.empty((rows, columns // 2, 2, 3), samples.dtype)
    frame[..., 0] = quads[..., :2]
    frame[..., 1] = quads[..., 2:3]
    frame[..., 2] = quads[..., 3:4]
    return frame.reshape(rows, columns, 3)


class Palette:
    """The three look-up tables of PALETTE COLOR."""

    def __init__(self, elements: Elements, *, signed: bool) -> None:
        name = elements.name
        tables, first, bits = [], 0, 16
        for colour in ("Red", "Green", "Blue"):
            descriptor = elements.numbers(f"{colour}PaletteColorLookupTableDescriptor")
            if len(descriptor) != 3:
                raise CorruptFile(f"{name}: PALETTE COLOR without a {colour} table; it is damaged")
            count, first, bits = (
                int(descriptor[0]) & 0xFFFF or 65536,
                int(descriptor[1]),
                int(descriptor[2]),
            )
            if signed and first > 32767:
                first -= 65536
            if bits not in (8, 16):
                raise CorruptFile(f"{name}: a palette of {bits} bits; it should be 8 or 16")
            order = "<" if elements.little else ">"
            data = elements.raw(f"{colour}PaletteColorLookupTableData")
            if data and len(data) >= 2 * count:
                values = np.frombuffer(data, order + "u2", count)
            elif data and len(data) >= count:
                values = np.frombuffer(data, "u1")
                if not elements.little and len(values) % 2 == 0:
                    values = values.reshape(-1, 2)[:, ::-1].ravel()
                values = values[:count]
            else:
                raw = elements.raw(f"Segmented{colour}PaletteColorLookupTableData")
                if not raw:
                    raise CorruptFile(
                        f"{name}: the {colour} palette holds {len(data)} bytes for {count} entries"
                    )
                words = (
                    np.frombuffer(raw[: len(raw) & ~1], order + "u2")
                    if bits == 16
                    else np.frombuffer(raw, "u1")
                )
                values = _expanded([int(w) for w in words], count, name)
            tables.append(values)
        self._first = first
        table = np.stack([t.astype(np.uint16) for t in tables], axis=-1)
        # Bytes widened to words: as the upper one, or as both.
        widened = not (table & 0xFF).any() or np.array_equal(table >> 8, table & 0xFF)
        self._eight = bits == 8 or widened or table.max() < 256
        if self._eight:
            table = (table >> 8 if table.max() > 255 else table).astype(np.uint8)
        self._table = np.ascontiguousarray(table)

    def __call__(self, frame: Array) -> Array:
        """``(rows, columns)`` of indices to ``(rows, columns, 3)``, uint8 or uint16."""
        index = np.clip(frame.astype(np.int64) - self._first, 0, len(self._table) - 1)
        return self._table[index]


def _expanded(words: list[int], count: int, name: str) -> Array:
    """Segmented palette data (PS3.3 C.7.9.2): discrete, linear and indirect segments."""
    values: list[int] = []
    wide = max(words, default=0) > 255

    def run(at: int, segments: int, depth: int) -> None:
        done = 0
        while at + 1 < len(words) and (segments < 0 or done < segments):
            kind, length = words[at], words[at + 1]
            at += 2
            if kind == 0:
                values.extend(words[at : at + length])
                at += length
            elif kind == 1 and values:
                start, end = values[-1], words[at]
                values.extend(
                    round(start + (end - start) * (i + 1) / length) for i in range(length)
                )
                at += 1
            elif kind == 2 and depth == 0:
                offset = (
                    (words[at] | words[at + 1] << 16)
                    if wide
                    else int.from_bytes(bytes(words[at : at + 4]), "little")
                )
                run(offset // 2 if wide else offset, length, 1)
                at += 2 if wide else 4
            else:
                raise CorruptFile(
                    f"{name}: a segmented palette has segment type {kind}; it is damaged"
                )
            if len(values) > 65536:
                break
            done += 1

    try:
        run(0, -1, 0)
    except IndexError as error:
        raise CorruptFile(f"{name}: a segmented palette ends inside a segment") from error
    if len(values) != count:
        raise CorruptFile(
            f"{name}: a segmented palette unfolds to {len(values)} of {count} entries"
        )
    return np.array(values, np.uint16)
