"""Siemens twix (``meas.dat``) of VB, VD, VE and XA: memory mapped, sorted, placed in the patient.

Siemens' samples follow ``exp(+2 pi i k.r)`` with k along the gradients that the quaternions of the
readouts describe: a plain inverse transform gives the body turned about by half. They are
conjugated here, which puts it right; bubbles of air in the phantom of the test data rise to the
front, as they must.
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path
from typing import Any

import numpy as np

from somascope.core.acquisition import Acquisition
from somascope.core.errors import CorruptFile
from somascope.core.grid import Array
from somascope.core.provenance import Provenance, Source
from somascope.io.raw import ramps, twix_mdh
from somascope.io.raw.readouts import COUNTERS, Encoding, Readouts, demand_cartesian
from somascope.io.raw.sorting import acquisitions
from somascope.io.raw.twix_facts import facts
from somascope.io.raw.twix_protocol import Protocol, buffers

_ENTRY = struct.Struct("<IIQQ64s64s")
_FIRST_TEXT = b"Config\0"
_TRAJECTORIES = {1: "cartesian", 2: "radial", 4: "spiral", 8: "blade"}


class TwixReader:
    """``meas.dat`` (a `somascope.io.read.Reader`)."""

    def matches(self, head: bytes, path: Path) -> bool:  # noqa: ARG002
        """Whether the first bytes are a RAID directory (VD and later) or a protocol (VB)."""
        if len(head) < 20:
            return False
        first, second = struct.unpack_from("<II", head)
        if head[8:15] == _FIRST_TEXT:
            return 32 < first < (1 << 26) and second <= 32
        if first < 10_000 and 1 <= second <= 64:
            if len(head) < 8 + _ENTRY.size:
                return False
            offset, length = struct.unpack_from("<QQ", head, 16)
            directory = 8 + _ENTRY.size * second
            return offset >= directory and offset % 512 == 0 and length > 0 and first == 0
        return False

    def read(self, path: Path) -> list[Acquisition]:
        """The images' measurement: one acquisition per stack of slices."""
        return read(path)


READER = TwixReader()


def read(path: str | Path) -> list[Acquisition]:
    """Acquisitions of the last measurement in a twix file; the earlier ones are adjustments.

    A noise scan, in the measurement itself or in an adjustment before it, becomes
    ``calibration["noise"]``; navigators of EPI ``navigator``; separate reference lines of parallel
    imaging ``reference``; positions of ramp samples ``readout`` (cycles per encoded field).

    Raises
    ------
    CorruptFile
        Truncated, or with lengths and counters that contradict each other.
    UnsupportedFormat
        Measured along a trajectory, which the file does not hold.
    """
    path = Path(path)
    with path.open("rb") as file:
        try:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError as error:
            raise CorruptFile(f"{path.name} is empty") from error
    # The views that NumPy takes keep the map open; it closes with the last of them.
    data = memoryview(mapped)
    modern, places = _measurements(data, path.name)
    noise: Array | None = None
    for start, end in places[:-1]:
        noise = _adjusted(data, start, end, modern, path.name, noise)
    start, end = places[-1]
    texts, begin = buffers(data, start, end, path.name)
    protocol = Protocol(texts)
    headers = twix_mdh.scan(data, begin, end, modern=modern, name=path.name)
    kind = _TRAJECTORIES.get(int(protocol.number("sKSpace.ucTrajectory", 1)), "unknown")
    demand_cartesian(kind, path.name)
    encoding = _encoding(protocol, headers, path.name)
    extra = {} if noise is None else {"noise": noise}
    ramp = _ramp(protocol, encoding)
    if ramp is not None:
        extra["readout"] = ramp
    return acquisitions(
        _readouts(data, headers), encoding, name=path.name, attributes=facts(protocol),
        provenance=Provenance((Source("raw", path.name),)), extra=extra,
    )  # fmt: skip


def _measurements(data: memoryview, name: str) -> tuple[bool, list[tuple[int, int]]]:
    """Whether it is VD or later, and first and last byte of each measurement."""
    size = len(data)
    if size < 16:
        raise CorruptFile(f"{name} has {size} bytes, less than a header")
    first, count = struct.unpack_from("<II", data, 0)
    if bytes(data[8:15]) == _FIRST_TEXT or not (first < 10_000 and 1 <= count <= 64):
        return False, [(0, size)]
    if 8 + count * _ENTRY.size > size:
        raise CorruptFile(f"{name} ends inside its directory of {count} measurements")
    places: list[tuple[int, int]] = []
    for i in range(count):
        _, _, offset, length, _, _ = _ENTRY.unpack_from(data, 8 + i * _ENTRY.size)
        if offset < 8 + count * _ENTRY.size or length == 0 or offset + length > size:
            raise CorruptFile(
                f"{name} is truncated: measurement {i} should be {length} bytes from byte "
                f"{offset} of {size}; copy the file again"
            )
        places.append((offset, offset + length))
    return True, places


def _adjusted(
    data: memoryview, start: int, end: int, modern: bool, name: str, noise: Array | None  # noqa: FBT001
) -> Array | None:  # fmt: skip
    """Noise samples of an adjustment; what else it holds, or a damage in it, is no matter here."""
    try:
        _, begin = buffers(data, start, end, name)
        headers = twix_mdh.scan(data, begin, end, modern=modern, name=name)
    except CorruptFile:
        return noise
    rows = np.flatnonzero(headers.flag("noise"))
    if not len(rows):
        return noise
    coils = headers.fields["channels"][rows]
    rows = rows[coils == coils[-1]]
    return np.concatenate([headers.load(data, int(i)) for i in rows], axis=1).conj()


def _readouts(data: memoryview, headers: twix_mdh.Headers) -> Readouts:
    fields = headers.fields
    noise, navigator = headers.flag("noise"), headers.flag("navigator")
    both = headers.flag("reference_and_image")
    reference = headers.flag("reference") | both
    other = (
        noise
        | navigator
        | headers.flag("phase_stabilisation")
        | headers.flag("phase_stabilisation_reference")
        | headers.flag("raw_correction")
        | headers.flag("hp_feedback")
    )
    feedback = headers.flag("rt_feedback") & ~navigator
    imaging = ~other & ~feedback & (~reference | both)
    return Readouts(
        counters={name: fields[name].astype(np.int64) for name in COUNTERS},
        imaging=imaging,
        noise=noise,
        navigator=navigator & ~noise,
        reference=reference & ~other,
        reverse=headers.flag("reverse"),
        samples=fields["samples"].astype(np.int64),
        coils=fields["channels"].astype(np.int64),
        centre=fields["centre_column"].astype(np.int64),
        position=fields["position"].astype(np.float64),
        directions=twix_mdh.directions(fields["quaternion"]),
        load=lambda i: headers.load(data, i),
    )


def _encoding(protocol: Protocol, headers: twix_mdh.Headers, name: str) -> Encoding:
    base = int(protocol.number("sKSpace.lBaseResolution", 0))
    lines = int(protocol.number("sKSpace.lPhaseEncodingLines", 0))
    first = "sSliceArray.asSlice[0]"
    read_field = protocol.number(f"{first}.dReadoutFOV", 0.0)
    phase_field = protocol.number(f"{first}.dPhaseFOV", 0.0)
    thickness = protocol.number(f"{first}.dThickness", 0.0)
    if not (0 < base < 1 << 14 and 0 < lines < 1 << 14 and 0 < read_field < 1e4
            and 0 < phase_field < 1e4 and 0 < thickness < 1e4):  # fmt: skip
        raise CorruptFile(
            f"{name}: its protocol has {base} columns, {lines} lines and a field of "
            f"{read_field} x {phase_field} x {thickness} mm; MeasYaps is missing or damaged"
        )
    three = int(protocol.number("sKSpace.ucDimension", 2)) == 4
    more_y = 1 + protocol.number("sKSpace.dPhaseOversamplingForDialog", 0.0)
    more_z = 1 + (protocol.number("sKSpace.dSliceOversamplingForDialog", 0.0) if three else 0.0)
    imaging = ~(headers.flag("noise") | headers.flag("navigator") | headers.flag("rt_feedback"))
    rows = headers.fields[imaging] if imaging.any() else headers.fields
    if not len(rows):
        raise CorruptFile(f"{name} holds no readouts")
    samples = int(np.median(rows["samples"]))
    columns = base * max(2, round(samples / base)) if samples > base else base
    partitions = int(protocol.number("sKSpace.lPartitions", 1)) if three else 1
    slab = int(protocol.number("sKSpace.lImagesPerSlab", partitions)) if three else 1
    matrix = (partitions, lines, columns)
    field_z = thickness * more_z if three else thickness
    image = (min(slab, partitions), max(round(lines / more_y), 1), base)
    echoes = [e / 1000 for e in protocol.array("alTE")]
    repetition = protocol.number("alTR[0]", 0.0) / 1e6
    count = int(rows["repetition"].max()) + 1
    return Encoding(
        matrix=matrix,
        field_mm=(field_z, phase_field * more_y, read_field * columns / base),
        image=image,
        centre=(int(rows["centre_partition"][0]), int(rows["centre_line"][0])),
        dimensions=3 if three else 2,
        thickness=thickness,
        values={
            "echo": tuple(echoes[: int(rows["echo"].max()) + 1]),
            "t": tuple(r * repetition for r in range(count)),
        },
        negated=True,
        frame_of_reference=protocol.text("tFrameOfReference"),
    )


def _ramp(protocol: Protocol, encoding: Encoding) -> Array | None:
    """Where the samples of an EPI readout lie, cycles per encoded field; None where they are even.

    A trapezoid (mode 2) or half-sine ramps (mode 4) of the protocol's regridding times, in us.
    """

    def first(key: str) -> float:
        values = protocol.parameter(key)
        return float(values[0]) if values and isinstance(values[0], (int, float)) else 0.0

    mode = int(first("alRegridMode"))
    count = int(first("alRegridDestSamples"))
    duration = first("aflRegridADCDuration")
    if mode not in (2, 4) or count != encoding.matrix[2] or duration <= 0:
        return None
    return ramps.positions(
        count,
        up=first("alRegridRampupTime"),
        flat=first("alRegridFlattopTime"),
        down=first("alRegridRampdownTime"),
        delay=first("alRegridDelaySamplesTime"),
        duration=duration,
        sine=mode == 4,
    )


def attributes_of(path: str | Path) -> dict[str, Any]:
    """Facts of a twix file's last measurement under DICOM keywords, without its samples."""
    path = Path(path)
    data = memoryview(path.read_bytes())
    _, places = _measurements(data, path.name)
    texts, _ = buffers(data, *places[-1], path.name)
    return facts(Protocol(texts))
