"""Overlay planes (PS3.3 C.9.2) as masks, also those kept in unused bits of the pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from somascope.core.errors import CorruptFile
from somascope.core.grid import Array
from somascope.io.dicom.pixels import Instance


@dataclass(frozen=True, eq=False)
class Overlay:
    """A 60xx overlay (PS3.3 C.9.2): ``planes`` bool ``(n, rows, columns)``.

    ``origin`` is the (row, column) of its first point on the picture, from 0.
    """

    group: int
    planes: Array
    origin: tuple[int, int]
    label: str = ""
    kind: str = ""


def overlays(instance: Instance) -> list[Overlay]:
    """The instance's overlay planes, also those in unused bits of the pixels."""
    elements, found = instance.elements, []
    for group in range(0x6000, 0x6020, 2):
        base = group << 16
        rows = elements.integer(base | 0x0010, vr="US")
        columns = elements.integer(base | 0x0011, vr="US")
        if rows < 1 or columns < 1:
            continue
        frames = max(elements.integer(base | 0x0015, 1), 1)
        origin = elements.numbers(base | 0x0050, "SS") or (1, 1)
        count = frames * rows * columns
        data = elements.raw(base | 0x3000)
        if data:
            if len(data) * 8 < count:
                raise CorruptFile(
                    f"{elements.name}: overlay {group:04X} holds {len(data)} bytes, {rows} x "
                    f"{columns} x {frames} bits need {-(-count // 8)}"
                )
            if not elements.little and (elements.place(base | 0x3000) or ("",))[0] == "OW":
                data = np.frombuffer(data[: len(data) & ~1], "u1").reshape(-1, 2)[:, ::-1].tobytes()
            planes = np.unpackbits(np.frombuffer(data, np.uint8), count=count, bitorder="little")
        elif (rows, columns) == (
            instance.form.rows,
            instance.form.columns,
        ) and not instance.encapsulated:
            bit = elements.integer(base | 0x0102, vr="US")
            if bit >= instance.form.allocated:
                raise CorruptFile(
                    f"{elements.name}: overlay {group:04X} in bit {bit}; there are "
                    f"{instance.form.allocated}"
                )
            raw = [instance.native(instance.data(n)) for n in range(1, instance.form.frames + 1)]
            frames = len(raw)
            planes = (np.stack(raw) >> bit) & 1
        else:
            continue
        found.append(
            Overlay(
                group, planes.reshape(frames, rows, columns).astype(bool),
                (int(origin[0]) - 1, int(origin[1]) - 1 if len(origin) > 1 else 0),
                elements.text(base | 0x1500), elements.text(base | 0x0040),
            )
        )  # fmt: skip
    return found
