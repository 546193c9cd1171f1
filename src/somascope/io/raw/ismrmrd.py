"""ISMRMRD (also MRD) in HDF5: vendor-neutral MR raw data.

Source: the ISMRM Raw Data format 1.x (Inati et al. 2017, Magn Reson Med 77:411): a group with
``xml`` and the table ``data`` of readouts. The image rises along the directions of the readouts,
``k`` with ``exp(-2 pi i k.r)``; data of Siemens scanners follows the other sign, which converters
keep, and is conjugated here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from somascope.core.acquisition import Acquisition
from somascope.core.errors import CorruptFile, ReadError, UnsupportedFormat
from somascope.core.grid import Array
from somascope.core.provenance import Provenance, Source
from somascope.io.raw import ismrmrd_header
from somascope.io.raw.ismrmrd_header import Header
from somascope.io.raw.readouts import Encoding, Readouts
from somascope.io.raw.sorting import acquisitions
from somascope.io.raw.trajectories import along

_MAGIC = b"\x89HDF\r\n\x1a\n"
_CHUNK = 256
_COUNTERS = {
    "line": "kspace_encode_step_1", "partition": "kspace_encode_step_2", "slice": "slice",
    "echo": "contrast", "repetition": "repetition", "average": "average", "set": "set",
    "phase": "phase",
}  # fmt: skip
_FLAGS = {
    "noise": 19, "reference": 20, "reference_and_image": 21, "reverse": 22, "navigation": 23,
    "phase_correction": 24, "hp_feedback": 26, "dummy": 27, "rt_feedback": 28,
    "coil_correction": 29, "stabilisation_reference": 30, "stabilisation": 31,
}  # fmt: skip
_ASIDE = (
    "noise", "navigation", "phase_correction", "hp_feedback", "dummy", "rt_feedback",
    "coil_correction", "stabilisation_reference", "stabilisation",
)  # fmt: skip


class IsmrmrdReader:
    """ISMRMRD HDF5 files (a `somascope.io.read.Reader`)."""

    def matches(self, head: bytes, path: Path) -> bool:
        """Whether it is HDF5 with a group that holds ``xml`` and ``data``."""
        if not head.startswith(_MAGIC):
            return False
        try:
            with h5py.File(path, "r") as file:
                return bool(_groups(file))
        except (OSError, RuntimeError):
            return False

    def read(self, path: Path) -> list[Acquisition]:
        """Every stack of slices of every group."""
        return read(path)


READER = IsmrmrdReader()


def read(path: str | Path) -> list[Acquisition]:
    """Acquisitions in an ISMRMRD file.

    Cartesian data becomes `mri.cartesian`, one acquisition per stack of slices; readouts with
    trajectories `mri.noncartesian`. Noise scans are in ``calibration["noise"]``, phase correction
    lines in ``navigator``, separate calibration lines in ``reference``.

    Raises
    ------
    CorruptFile
        Truncated, damaged, or with counters and lengths that contradict each other.
    UnsupportedFormat
        HDF5 without such a group.
    """
    path = Path(path)
    try:
        with h5py.File(path, "r") as file:
            groups = _groups(file)
            if not groups:
                raise UnsupportedFormat(f"{path.name} is HDF5 without an ISMRMRD group")
            found = [a for g in groups for a in _group(file[g], path)]
    except ReadError:
        raise
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise CorruptFile(f"{path.name} is damaged or truncated: {error}") from error
    if not found:
        raise CorruptFile(f"{path.name} holds no readouts of an image")
    return found


def _groups(file: Any) -> list[str]:
    """Groups with ``xml`` and ``data``; links that leave the file are not followed."""
    found: list[str] = []
    for name in file:
        if not isinstance(file.get(name, getlink=True), h5py.HardLink):
            continue
        if file.get(name, getclass=True) is h5py.Group and {"xml", "data"} <= set(file[name]):
            found.append(name)
    return found


def _group(group: Any, path: Path) -> list[Acquisition]:
    name = path.name
    text = group["xml"][()]
    text = text.reshape(-1)[0] if isinstance(text, np.ndarray) else text
    header = Header(text, name)
    table = group["data"]
    if not isinstance(table, h5py.Dataset) or not {"head", "data"} <= set(table.dtype.names or ()):
        raise CorruptFile(f"{name}: its data is no table of readouts with head and data")
    if table.size == 0:
        raise CorruptFile(f"{name} holds no readouts; it was not measured to its end")
    heads = table.fields("head")[:].reshape(-1)
    _check_sizes(heads, path)
    readouts = _readouts(table, heads, header, name)
    facts = ismrmrd_header.facts(header)
    provenance = Provenance((Source("raw", name),))
    imaging = np.flatnonzero(readouts.imaging)
    if not len(imaging):
        raise CorruptFile(f"{name} holds {len(heads)} readouts and none of them is of an image")
    moving = bool((heads["trajectory_dimensions"][imaging] > 0).any())
    encoding = ismrmrd_header.encoding(
        header,
        name,
        columns=0 if moving else int(readouts.samples[imaging].max()),
        repetitions=int(readouts.counters["repetition"].max()) + 1,
    )
    if moving:
        paths = _paths(table, heads, imaging, name)
        return along(readouts, encoding, paths, name=name, attributes=facts, provenance=provenance)
    encoding = _widened(encoding, readouts, imaging)
    places = ismrmrd_header.ramp(header, encoding.matrix[2])
    extra = {"readout": places} if places is not None and readouts.reverse.any() else {}
    return acquisitions(
        readouts, encoding, name=name, attributes=facts, provenance=provenance, extra=extra
    )


def _check_sizes(heads: Array, path: Path) -> None:
    """Refuse headers that promise more samples than the file has bytes.

    Variable lengths in HDF5 are allocated before they are read.
    """
    bytes_ = heads["number_of_samples"].astype(np.int64) * heads["active_channels"] * 8
    size = path.stat().st_size
    if (bytes_ == 0).any():
        raise CorruptFile(
            f"{path.name}: readout {int(np.argmax(bytes_ == 0))} has no samples or no coils"
        )
    if int(bytes_.sum()) > size:
        raise CorruptFile(
            f"{path.name} is truncated or damaged: its readouts promise {int(bytes_.sum())} bytes "
            f"of samples and the file has {size}"
        )


def _readouts(table: Any, heads: Array, header: Header, name: str) -> Readouts:
    flags = heads["flags"]

    def flag(which: str) -> Array:
        return (flags >> np.uint64(_FLAGS[which] - 1)) & np.uint64(1) > 0

    aside = np.logical_or.reduce([flag(n) for n in _ASIDE])
    reference, both = flag("reference"), flag("reference_and_image")
    first = int(heads["encoding_space_ref"].min())
    other = heads["encoding_space_ref"] != first
    cache: dict[int, list[Array]] = {}

    def load(i: int) -> Array:
        block = i // _CHUNK
        if block not in cache:
            cache.clear()
            rows = table.fields("data")[block * _CHUNK : (block + 1) * _CHUNK]
            cache[block] = list(rows.reshape(-1))
        coils, samples = int(heads["active_channels"][i]), int(heads["number_of_samples"][i])
        values = np.asarray(cache[block][i - block * _CHUNK], np.float32)
        if values.size != 2 * coils * samples:
            raise CorruptFile(
                f"{name}: readout {i} holds {values.size} numbers instead of {samples} complex "
                f"samples of {coils} coils"
            )
        values = values.view(np.complex64).reshape(coils, samples)
        before, after = int(heads["discard_pre"][i]), int(heads["discard_post"][i])
        if before + after >= samples:
            return values
        return values[:, before : samples - after]

    count = heads["number_of_samples"].astype(np.int64)
    kept = count - heads["discard_pre"] - heads["discard_post"]
    kept = np.where(kept > 0, kept, count)
    centre = heads["center_sample"].astype(np.int64) - np.where(
        kept < count, heads["discard_pre"], 0
    )
    directions = np.stack([heads["slice_dir"], heads["phase_dir"], heads["read_dir"]], axis=1)
    if not np.any(directions):
        # Simulated data often leaves them out: an axial slice as it is looked at.
        directions[:] = np.array([[0, 0, 1], [0, 1, 0], [1, 0, 0]])
        if ismrmrd_header.is_siemens(header):
            directions[:, 1:] *= -1
    navigator = flag("phase_correction") | flag("navigation")
    return Readouts(
        counters={k: heads["idx"][v].astype(np.int64) for k, v in _COUNTERS.items()},
        imaging=~aside & ~other & (~reference | both),
        noise=flag("noise"),
        navigator=navigator & ~flag("noise"),
        reference=(reference | both) & ~aside,
        reverse=flag("reverse"),
        samples=kept,
        coils=heads["active_channels"].astype(np.int64),
        centre=centre,
        position=heads["position"].astype(np.float64),
        directions=directions.astype(np.float64),
        load=load,
    )


def _paths(table: Any, heads: Array, imaging: Array, name: str) -> Array:
    """Trajectories of the imaging readouts ``(n, samples, d)`` in the file's order x, y(, z)."""
    dimensions = np.unique(heads["trajectory_dimensions"][imaging])
    samples = np.unique(heads["number_of_samples"][imaging])
    if len(dimensions) != 1 or len(samples) != 1:
        raise UnsupportedFormat(
            f"{name} mixes readouts of {samples.tolist()} samples and {dimensions.tolist()} "
            "trajectory dimensions"
        )
    d, n = int(dimensions[0]), int(samples[0])
    out = np.empty((len(imaging), n, d), np.float64)
    for start in range(0, len(heads), _CHUNK):
        rows = table.fields("traj")[start : start + _CHUNK].reshape(-1)
        for at, i in enumerate(imaging):
            if start <= i < start + _CHUNK:
                values = np.asarray(rows[i - start])
                if values.size != n * d:
                    raise CorruptFile(f"{name}: readout {i} has a trajectory of another length")
                out[at] = values.reshape(n, d)
    if not np.isfinite(out).all():
        raise CorruptFile(f"{name} has a trajectory with values that are not finite")
    return out


def _widened(encoding: Encoding, readouts: Readouts, imaging: Array) -> Encoding:
    """With room for readouts whose centre lies off the middle (asymmetric echoes)."""
    from dataclasses import replace

    reach = np.maximum(
        readouts.centre[imaging], readouts.samples[imaging] - readouts.centre[imaging]
    )
    columns = max(encoding.matrix[2], 2 * int(reach.max()))
    if columns == encoding.matrix[2]:
        return encoding
    scale = columns / encoding.matrix[2]
    # The step between samples, and with it the field, stays; only the extent of k-space grows.
    z, y, x = encoding.image
    return replace(
        encoding, matrix=(*encoding.matrix[:2], columns), image=(z, y, max(round(x * scale), 1))
    )
