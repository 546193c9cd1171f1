"""A scanner for tests: point sources in the patient, measured by their definition, as raw files.

Nothing here shares code with the readers: signals are sums over sources of ``exp(-2 pi i k.r)``
with k along physical gradient directions, and the file layouts are written out again.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np

from somascope.core import Acquisition, Grid, Image


class AsImages:
    """A reader of acquisitions whose samples stand as images: for `check_reader`."""

    def __init__(self, reader) -> None:
        self.reader = reader
        self.matches = reader.matches

    def read(self, path: Path) -> list[Image]:
        found = self.reader.read(path)
        assert all(isinstance(a, Acquisition) for a in found)
        return [
            Image(
                a.samples.reshape(1, 1, -1),
                Grid.from_spacing((1, 1, a.samples.size), (1, 1, 1)),
                a.modality,
                provenance=a.provenance,
            )
            for a in found
        ]


COILS = 3
WEIGHTS = np.array([1.0, 0.5 + 0.4j, -0.7j])


@dataclass
class Scan:
    """A Cartesian scan. Directions are rows: slice, phase, read; lengths in mm."""

    directions: np.ndarray
    centre: tuple[float, float, float] = (12.0, -20.0, 33.0)
    lines: int = 24
    columns: int = 20
    """Of the image; the readout has twice as many samples."""
    extent: tuple[float, float] = (48.0, 60.0)
    """Phase, read."""
    slices: int = 1
    gap: float = 4.0
    partitions: int = 1
    slab: float = 24.0
    sources: list[tuple[tuple[int, int, int], float]] = field(default_factory=list)
    """Offsets in voxels along slice, phase and read from the centre, and strengths."""
    order: list[int] | None = None
    skip: int = 1
    echoes: int = 1

    def __post_init__(self) -> None:
        self.directions = np.asarray(self.directions, float)

    @property
    def voxel(self) -> np.ndarray:
        z = self.slab / self.partitions if self.partitions > 1 else self.gap
        return np.array([z, self.extent[0] / self.lines, self.extent[1] / self.columns])

    def slice_centre(self, s: int) -> np.ndarray:
        shift = (s - self.slices // 2) * self.gap if self.slices > 1 else 0.0
        return np.array(self.centre) + shift * self.directions[0]

    def places(self) -> list[tuple[np.ndarray, float]]:
        """LPS mm of each source, and its strength."""
        return [
            (np.array(self.centre) + self.directions.T @ (self.voxel * np.array(offset)), strength)
            for offset, strength in self.sources
        ]

    def readouts(self, sign: float):
        """Line, partition, slice, echo, position and samples (coils, 2 columns) of each readout."""
        order = self.order or list(range(self.slices))
        k_read = (np.arange(2 * self.columns) - self.columns) / (2 * self.extent[1])
        for echo in range(self.echoes):
            for partition in range(self.partitions):
                for line in range(0, self.lines, self.skip):
                    for count, s in enumerate(order):
                        k_phase = (line - self.lines // 2) / self.extent[0]
                        k_slice = (partition - self.partitions // 2) / self.slab
                        signal = np.zeros(2 * self.columns, complex)
                        at = self.slice_centre(s)
                        for place, strength in self.places():
                            along, phase, read = self.directions @ (place - at)
                            if self.partitions == 1 and abs(along) > 1e-3:
                                continue  # in another slice
                            turn = k_read * read + k_phase * phase
                            if self.partitions > 1:
                                turn = turn + k_slice * along
                            signal += strength * 0.5**echo * np.exp(sign * 2j * np.pi * turn)
                        yield line, partition, count, echo, at, WEIGHTS[:, None] * signal


def quaternion(scan: Scan) -> np.ndarray:
    """(w, x, y, z) of the rotation with columns phase, read, slice."""
    from scipy.spatial.transform import Rotation

    across, phase, read = scan.directions
    x, y, z, w = Rotation.from_matrix(np.stack([phase, read, across], axis=1)).as_quat()
    return np.array([w, x, y, z])


def protocol(scan: Scan) -> bytes:
    three = scan.partitions > 1
    lines = {
        "tProtocolName": '"marked"',
        "sKSpace.lBaseResolution": scan.columns,
        "sKSpace.lPhaseEncodingLines": scan.lines,
        "sKSpace.lPartitions": scan.partitions,
        "sKSpace.lImagesPerSlab": scan.partitions,
        "sKSpace.ucDimension": 4 if three else 2,
        "sKSpace.ucTrajectory": 1,
        "sSliceArray.lSize": scan.slices,
        "sSliceArray.asSlice[0].dThickness": scan.slab if three else scan.gap,
        "sSliceArray.asSlice[0].dPhaseFOV": scan.extent[0],
        "sSliceArray.asSlice[0].dReadoutFOV": scan.extent[1],
        "alTR[0]": 20000,
        "alTE[0]": 3000,
        "alTE[1]": 7000,
        "adFlipAngleDegree[0]": 15.0,
    }
    text = "### ASCCONV BEGIN ###\n"
    text += "".join(f"{k}\t = \t{v}\n" for k, v in lines.items()) + "### ASCCONV END ###\n"
    meas = (
        '<XProtocol> { <ParamString."tPatientName"> { "Left^Right" } '
        '<ParamString."PatientID"> { "LR1" } <ParamString."tPatientPosition"> { "HFS" } '
        '<ParamString."PatientBirthDay"> { "19700102" } '
        '<ParamString."tFrameOfReference"> { "1.2.3.4" } }'
    )
    out = b""
    for name, body in (("Config", " "), ("Meas", meas), ("MeasYaps", text)):
        data = body.encode() + b"\0"
        out += name.encode() + b"\0" + struct.pack("<I", len(data)) + data
    out = struct.pack("<II", 0, 3) + out
    out += bytes(-len(out) % 32)
    return struct.pack("<I", len(out)) + out[4:]


def _mdh(scan: Scan, flags: int, counters, at, samples: int, *, modern: bool, number: int) -> bytes:
    line, partition, count, echo = counters
    loop = struct.pack("<14H", line, 0, count, partition, echo, *[0] * 9)
    middle = struct.pack("<QHH", flags, samples, COILS) + loop
    middle += struct.pack(
        "<2HHHfIHH", 0, 0, samples // 2, 0, 0.0, 0, scan.lines // 2, scan.partitions // 2
    )
    place = struct.pack("<7f", *at, *quaternion(scan))
    length = 192 + COILS * (32 + 8 * samples) if modern else 128 + 8 * samples
    start = struct.pack("<IiIII", length, 7, number, 0, 0)
    if modern:
        return start + bytes(20) + middle + place + bytes(48 + 8 + 8)
    return start + middle + bytes(16) + place + bytes(4)


def write_twix(
    path: Path,
    scan: Scan,
    *,
    modern: bool = True,
    noise: np.ndarray | None = None,
    adjustment: np.ndarray | None = None,
    flags_of=lambda number: 8,
) -> None:
    """A measurement of VD (``modern``) or VB; samples follow exp(+2 pi i k.r).

    ``noise`` comes first in it, ``adjustment`` is noise in a measurement of its own before it.
    """
    body = protocol(scan)
    rows = []
    if noise is not None:
        rows.append((1 << 25, (0, 0, 0, 0), scan.centre, noise))
    for line, partition, count, echo, at, values in scan.readouts(+1.0):
        flags = flags_of(len(rows))
        rows.append((flags, (line, partition, count, echo), at, values))
    for number, (flags, counters, at, values) in enumerate(rows):
        data = values.astype("<c8")
        mdh = _mdh(scan, flags, counters, at, data.shape[1], modern=modern, number=number)
        if modern:
            assert len(mdh) == 192
            body += mdh + b"".join(bytes(32) + coil.tobytes() for coil in data)
        else:
            assert len(mdh) == 128
            body += b"".join(mdh + coil.tobytes() for coil in data)
    body += _mdh(scan, 1, (0, 0, 0, 0), (0, 0, 0), 16, modern=modern, number=len(rows))
    if modern:
        offset = 10240
        parts = [body]
        if adjustment is not None:
            data = adjustment.astype("<c8")
            mdh = _mdh(scan, 1 << 25, (0, 0, 0, 0), (0, 0, 0), data.shape[1], modern=True, number=0)
            end = _mdh(scan, 1, (0, 0, 0, 0), (0, 0, 0), 16, modern=True, number=1)
            blocks = b"".join(bytes(32) + coil.tobytes() for coil in data)
            first = protocol(scan) + mdh + blocks + end
            parts.insert(0, first + bytes(-len(first) % 512))
        directory = struct.pack("<II", 0, len(parts))
        for part in parts:
            directory += struct.pack("<IIQQ64s64s", 7, 8, offset, len(part), b"L^R", b"marked")
            offset += len(part)
        body = directory.ljust(10240, b"\0") + b"".join(parts)
    path.write_bytes(body)


COUNTERS = np.dtype(
    [(n, "<u2") for n in (
        "kspace_encode_step_1", "kspace_encode_step_2", "average", "slice", "contrast", "phase",
        "repetition", "set", "segment")] + [("user", "<u2", (8,))]
)  # fmt: skip
HEAD = np.dtype(
    [
        ("version", "<u2"), ("flags", "<u8"), ("measurement_uid", "<u4"), ("scan_counter", "<u4"),
        ("acquisition_time_stamp", "<u4"), ("physiology_time_stamp", "<u4", (3,)),
        ("number_of_samples", "<u2"), ("available_channels", "<u2"), ("active_channels", "<u2"),
        ("channel_mask", "<u8", (16,)), ("discard_pre", "<u2"), ("discard_post", "<u2"),
        ("center_sample", "<u2"), ("encoding_space_ref", "<u2"), ("trajectory_dimensions", "<u2"),
        ("sample_time_us", "<f4"), ("position", "<f4", (3,)), ("read_dir", "<f4", (3,)),
        ("phase_dir", "<f4", (3,)), ("slice_dir", "<f4", (3,)),
        ("patient_table_position", "<f4", (3,)), ("idx", COUNTERS), ("user_int", "<i4", (8,)),
        ("user_float", "<f4", (8,)),
    ]
)  # fmt: skip


def xml(scan: Scan, *, vendor: str = "ACME", trajectory: str = "cartesian") -> str:
    z, zf = (scan.partitions, scan.slab) if scan.partitions > 1 else (1, scan.gap)
    centre = scan.lines // 2
    return f"""<?xml version="1.0"?>
<ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD">
 <subjectInformation><patientName>Left^Right</patientName><patientID>LR1</patientID>
  <patientBirthdate>1970-01-02</patientBirthdate><patientGender>F</patientGender>
 </subjectInformation>
 <acquisitionSystemInformation><systemVendor>{vendor}</systemVendor>
  <systemFieldStrength_T>1.5</systemFieldStrength_T></acquisitionSystemInformation>
 <measurementInformation><patientPosition>HFS</patientPosition>
  <frameOfReferenceUID>1.2.3.4</frameOfReferenceUID></measurementInformation>
 <experimentalConditions><H1resonanceFrequency_Hz>63500000</H1resonanceFrequency_Hz>
 </experimentalConditions>
 <encoding>
  <encodedSpace><matrixSize><x>{2 * scan.columns}</x><y>{scan.lines}</y><z>{z}</z></matrixSize>
   <fieldOfView_mm><x>{2 * scan.extent[1]}</x><y>{scan.extent[0]}</y><z>{zf}</z></fieldOfView_mm>
  </encodedSpace>
  <reconSpace><matrixSize><x>{scan.columns}</x><y>{scan.lines}</y><z>{z}</z></matrixSize>
   <fieldOfView_mm><x>{scan.extent[1]}</x><y>{scan.extent[0]}</y><z>{zf}</z></fieldOfView_mm>
  </reconSpace>
  <encodingLimits>
   <kspace_encoding_step_1><minimum>0</minimum><maximum>{scan.lines - 1}</maximum>
    <center>{centre}</center></kspace_encoding_step_1>
   <kspace_encoding_step_2><minimum>0</minimum><maximum>{z - 1}</maximum><center>{z // 2}</center>
   </kspace_encoding_step_2></encodingLimits>
  <trajectory>{trajectory}</trajectory>
 </encoding>
 <sequenceParameters><TR>20</TR><TE>3</TE><TE>7</TE><flipAngle_deg>15</flipAngle_deg>
 </sequenceParameters>
</ismrmrdHeader>"""


def write_ismrmrd(
    path: Path,
    scan: Scan,
    *,
    vendor: str = "ACME",
    noise: np.ndarray | None = None,
    header: str | None = None,
    change=lambda heads: None,
    paths: np.ndarray | None = None,
    readouts=None,
) -> None:
    """An ISMRMRD file; samples follow exp(-2 pi i k.r), with + for Siemens."""
    siemens = vendor.upper() == "SIEMENS"
    rows = list(readouts or scan.readouts(+1.0 if siemens else -1.0))
    count = len(rows) + (noise is not None)
    kind = np.dtype(
        [("head", HEAD), ("traj", h5py.vlen_dtype("<f4")), ("data", h5py.vlen_dtype("<f4"))]
    )
    table = np.zeros(count, kind)
    start = 0
    if noise is not None:
        table["head"][0]["flags"] = 1 << 18
        table[0]["data"] = noise.astype("<c8").view("<f4").ravel()
        _head(table["head"], 0, scan, noise.shape[1], scan.centre)
        start = 1
    for n, (line, partition, s, echo, at, values) in enumerate(rows, start):
        head = table["head"]
        _head(head, n, scan, values.shape[1], at)
        idx = head["idx"]
        idx["kspace_encode_step_1"][n], idx["kspace_encode_step_2"][n] = line, partition
        idx["slice"][n], idx["contrast"][n] = s, echo
        table["data"][n] = np.ascontiguousarray(values.astype("<c8")).view("<f4").ravel()
        table["traj"][n] = np.zeros(0, "<f4")
        if paths is not None:
            head["trajectory_dimensions"][n] = paths.shape[-1]
            table["traj"][n] = paths[n - start].astype("<f4").ravel()
    if noise is not None:
        table["traj"][0] = np.zeros(0, "<f4")
    change(table["head"])
    with h5py.File(path, "w") as file:
        group = file.create_group("dataset")
        group.create_dataset("xml", data=[header or xml(scan, vendor=vendor)],
                             dtype=h5py.string_dtype("ascii"))  # fmt: skip
        group.create_dataset("data", data=table, maxshape=(None,), chunks=(64,))


def _head(heads: np.ndarray, n: int, scan: Scan, samples: int, at) -> None:
    heads["number_of_samples"][n], heads["active_channels"][n] = samples, COILS
    heads["center_sample"][n] = samples // 2
    heads["position"][n] = at
    heads["slice_dir"][n], heads["phase_dir"][n], heads["read_dir"][n] = scan.directions
