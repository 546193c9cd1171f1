"""Measurement data headers of Siemens twix files: one per readout (VD, VE, XA) or per coil (VB).

The layouts are those of ``MDH`` in N4 (VB) and ``sScanHeader`` in N4/NX (VD and later), as open
readers describe them.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np

from somascope.core.errors import CorruptFile
from somascope.core.grid import Array

_COUNTERS = (
    "line", "average", "slice", "partition", "echo", "phase", "repetition", "set", "segment",
    "ida", "idb", "idc", "idd", "ide",
)  # fmt: skip
_LOOP = [(name, "<u2") for name in _COUNTERS]
_SLICE = [("position", "<f4", 3), ("quaternion", "<f4", 4)]
_START = [
    ("dma", "<u4"),
    ("measurement", "<i4"),
    ("scan", "<u4"),
    ("time", "<u4"),
    ("pmu_time", "<u4"),
]
_MIDDLE = [
    ("flags", "<u8"),
    ("samples", "<u2"),
    ("channels", "<u2"),
    *_LOOP,
    ("cut_off", "<u2", 2),
    ("centre_column", "<u2"),
    ("coil_select", "<u2"),
    ("off_centre", "<f4"),
    ("since_rf", "<u4"),
    ("centre_line", "<u2"),
    ("centre_partition", "<u2"),
]
VB = np.dtype(
    [*_START, *_MIDDLE, ("ice", "<u2", 4), ("free", "<u2", 4), *_SLICE, ("channel", "<u2"),
     ("table", "<u2")]
)  # fmt: skip
VD = np.dtype(
    [*_START, ("system", "<u2"), ("table_delay", "<u2"), ("table", "<i4", 3), ("reserved", "<u4"),
     *_MIDDLE, *_SLICE, ("ice", "<u2", 24), ("spare", "<u2", 4), ("application", "<u2"),
     ("application_mask", "<u2"), ("crc", "<u4")]
)  # fmt: skip
CHANNEL_BYTES = 32
"""Header before each coil's samples since VD."""

_LENGTH = (1 << 25) - 1
END, SYNC = 1 << 0, 1 << 5
BITS = {
    "rt_feedback": 1, "hp_feedback": 2, "raw_correction": 10, "phase_stabilisation_reference": 14,
    "phase_stabilisation": 15, "navigator": 21, "reference": 22, "reference_and_image": 23,
    "reverse": 24, "noise": 25,
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Headers:
    """Headers of a measurement's readouts, where their samples are, and the bytes per coil."""

    fields: Array
    offsets: Array
    """Byte offset of the first coil's block (its header included)."""
    header: int
    """Bytes of a coil's header."""

    def flag(self, name: str) -> Array:
        """Which readouts carry the flag."""
        return (self.fields["flags"] >> np.uint64(BITS[name])) & np.uint64(1) > 0

    def load(self, data: memoryview, i: int) -> Array:
        """Samples ``(coils, samples)`` of a readout; a copy."""
        head = self.fields[i]
        coils, samples = int(head["channels"]), int(head["samples"])
        words = self.header // 8 + samples
        block = np.frombuffer(data, "<c8", coils * words, int(self.offsets[i]))
        return block.reshape(coils, words)[:, self.header // 8 :].astype(np.complex64)


def scan(data: memoryview, start: int, end: int, *, modern: bool, name: str) -> Headers:
    """All readouts between two offsets, up to the one that says it is the last.

    Raises
    ------
    CorruptFile
        The file ends inside a readout or before the last one, or lengths contradict each other.
    """
    kind = VD if modern else VB
    at_flags = 40 if modern else 20
    places: list[int] = []
    position = start
    while True:
        if end - position < kind.itemsize:
            raise CorruptFile(
                f"{name} is truncated: it ends after {len(places)} readouts without the mark of "
                "the last one; copy the file again"
            )
        (dma,) = struct.unpack_from("<I", data, position)
        flags, samples, channels = struct.unpack_from("<QHH", data, position + at_flags)
        if flags & END:
            break
        length = dma & _LENGTH
        if not flags & SYNC:
            places.append(position)
            expected = (
                kind.itemsize + channels * (CHANNEL_BYTES + 8 * samples)
                if modern
                else channels * (kind.itemsize + 8 * samples)
            )
            if channels == 0 or samples == 0:
                raise CorruptFile(
                    f"{name}: readout {len(places) - 1} has {samples} samples of {channels} coils"
                )
            length = expected
            if not modern:
                _check_coils(data, position, end, samples, channels, name)
        if length < kind.itemsize:
            raise CorruptFile(f"{name} has a block of {length} bytes at byte {position}")
        if length > end - position:
            raise CorruptFile(
                f"{name} is truncated: readout {len(places) - 1} needs {length} bytes and "
                f"{end - position} are left; copy the file again"
            )
        position += length
    offsets = np.array(places, np.int64)
    fields = np.empty(len(places), kind)
    for i, place in enumerate(places):
        fields[i] = np.frombuffer(data, kind, 1, place)[0]
    if modern:
        return Headers(fields, offsets + kind.itemsize, CHANNEL_BYTES)
    return Headers(fields, offsets, kind.itemsize)


def _check_coils(
    data: memoryview, start: int, end: int, samples: int, channels: int, name: str
) -> None:
    """VB: the coils of a readout follow one another, each with a header that says the same."""
    for c in range(1, channels):
        at = start + c * (VB.itemsize + 8 * samples)
        if at + VB.itemsize > end:
            return  # the caller says that it is truncated
        if struct.unpack_from("<HH", data, at + 28) != (samples, channels):
            raise CorruptFile(f"{name}: coil {c} of the readout at byte {start} has another length")


def directions(quaternions: Array) -> Array:
    """Slice, phase and read direction ``(n, 3, 3)`` (rows) in LPS of quaternions (w, x, y, z).

    A quaternion stands for the rotation whose columns are the phase, read and slice gradient.
    """
    w, x, y, z = np.asarray(quaternions, np.float64).T
    phase = [1 - 2 * (y**2 + z**2), 2 * (x * y + z * w), 2 * (x * z - y * w)]
    read = [2 * (x * y - z * w), 1 - 2 * (x**2 + z**2), 2 * (y * z + x * w)]
    across = [2 * (x * z + y * w), 2 * (y * z - x * w), 1 - 2 * (x**2 + y**2)]
    return np.stack([np.stack(v, axis=-1) for v in (across, phase, read)], axis=1)
