"""PETSIRD, the open standard for PET list mode (Emission Tomography Standardization Initiative).

https://github.com/ETSInitiative/PETSIRD. The format changes from version to version and its package
reads only its own: 0.12 is needed, an optional dependency (``pip install "petsird==0.12.*"``).
Coordinates are taken for LPS mm of a patient who lies head first and supine.
"""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import Any

import numpy as np

from somascope.core.acquisition import Acquisition
from somascope.core.errors import (
    CorruptFile,
    GeometryError,
    MissingExtra,
    ReadError,
    UnsupportedFormat,
)
from somascope.core.grid import Array, Float, Grid
from somascope.core.provenance import Provenance, Source
from somascope.core.registry import build_operator

VERSION = "0.12"
_MM_PER_PS = 0.299792458 / 2


class PetsirdReader:
    """Binary PETSIRD files (a `somascope.io.read.Reader`)."""

    def matches(self, head: bytes, path: Path) -> bool:  # noqa: ARG002
        """Whether it is a yardl stream of the PETSIRD protocol."""
        return head.startswith(b"yardl") and b"PETSIRD" in head

    def read(self, path: Path) -> list[Acquisition]:
        """The prompts in the file."""
        return [read(path)]


READER = PetsirdReader()


def package() -> Any:
    """The package ``petsird``, of the pinned version.

    Raises
    ------
    MissingExtra
        Not installed, or of another version.
    """
    try:
        import petsird

        found = importlib.metadata.version("petsird")
    except ImportError as error:
        raise MissingExtra(
            f'PETSIRD files need the package petsird: pip install "petsird=={VERSION}.*"'
        ) from error
    if not found.startswith(f"{VERSION}."):
        raise MissingExtra(
            f"petsird {found} is installed and reads only its own version; {VERSION} is needed: "
            f'pip install "petsird=={VERSION}.*"'
        )
    return petsird


def read(path: str | Path) -> Acquisition:
    """The prompt coincidences of a file: ``pet.listmode`` with the crystals where they are.

    The grid covers the cylinder inside the crystals with voxels of half the crystal pitch (128
    per side at most). Efficiencies of crystals become ``normalisation``; delayed coincidences are
    not read.

    Raises
    ------
    MissingExtra
        See `package`.
    CorruptFile
        Damaged or truncated.
    UnsupportedFormat
        Modules of several types, or no prompts.
    """
    path = Path(path)
    petsird = package()
    try:
        with path.open("rb") as stream, petsird.BinaryPETSIRDReader(stream) as reader:
            head = reader.read_header()
            events, times, stop = _prompts(petsird, reader.read_time_blocks())
    except ReadError:
        raise
    except Exception as error:  # whatever its package does with damaged bytes
        raise CorruptFile(f"{path.name} is damaged or truncated: {error!r}") from error
    try:
        return _acquisition(head, events, times, stop, path)
    except (GeometryError, ValueError, IndexError, TypeError, AttributeError) as error:
        raise CorruptFile(f"{path.name}: {error}") from error


def _prompts(petsird: Any, blocks: Any) -> tuple[Array, Array, float]:
    """Detection bins and TOF index ``(n, 3)``, times in ms, and the end of the last block."""
    rows: list[Array] = []
    times: list[Array] = []
    stop = 0.0
    for block in blocks:
        if not isinstance(block, petsird.TimeBlock.EventTimeBlock):
            continue
        own = block.value
        stop = max(stop, float(own.time_interval.stop))
        lists = [pair for row in own.prompt_events for pair in row]
        if sum(1 for one in lists if len(one)) > 1 or len(own.prompt_events) > 1:
            raise UnsupportedFormat("events between several types of modules; one type is read")
        for one in lists:
            table = np.array([(*e.detection_bins[:2], e.tof_idx) for e in one], np.int64)
            rows.append(table.reshape(-1, 3))
            middle = (own.time_interval.start + own.time_interval.stop) / 2
            times.append(np.full(len(table), middle, np.float32))
    if not rows or not sum(map(len, rows)):
        raise UnsupportedFormat("the file holds no prompt coincidences")
    return np.concatenate(rows), np.concatenate(times), stop


def crystal_positions(scanner: Any) -> Float:
    """LPS mm of the middle of every detecting element, module by module, ``(n, 3)``."""
    modules = scanner.scanner_geometry.replicated_modules
    if len(modules) != 1:
        raise UnsupportedFormat(f"a scanner of {len(modules)} types of modules; one type is read")
    elements = modules[0].object.detecting_elements
    middle = np.mean([c.c for c in elements.object.shape.corners], axis=0)
    inner = np.array([t.matrix for t in elements.transforms], np.float64)
    outer = np.array([t.matrix for t in modules[0].transforms], np.float64)
    inside = inner[:, :, :3] @ middle + inner[:, :, 3]
    found = np.einsum("mij,ej->mei", outer[:, :, :3], inside) + outer[:, None, :, 3]
    return found.reshape(-1, 3)


def _acquisition(head: Any, events: Array, times: Array, stop: float, path: Path) -> Acquisition:
    scanner = head.scanner
    positions = crystal_positions(scanner)
    energies = len(scanner.event_energy_bin_edges[0].edges) - 1
    crystals = (events[:, :2] // max(energies, 1)).astype(np.int32)
    described, bins = _described(scanner, positions)
    description = {
        "grid": _grid(positions, described), "scanner": described, "crystals": crystals,
        "positions": positions, "times": times,
    }  # fmt: skip
    if bins > 1:
        description["tof"] = events[:, 2].astype(np.int16)
    scan = build_operator("pet.listmode", description)
    aside: dict[str, Array] = {}
    efficiencies = scanner.detection_efficiencies.detection_bin_efficiencies
    if efficiencies:
        own = np.asarray(efficiencies[0], np.float32).reshape(-1)
        weights = own[events[:, 0]] * own[events[:, 1]]
        if not np.all(weights == 1):
            aside["normalisation"] = weights
    facts: dict[str, Any] = {"ManufacturerModelName": scanner.model_name, "PatientPosition": "HFS"}
    if stop > 0:
        facts["ActualFrameDuration"] = stop
    if head.exam is not None:
        patient = head.exam.patient
        known = {
            "PatientID": patient.patient_id, "PatientSex": patient.patients_sex,
            "PatientSize": float(patient.patients_size),
            "PatientWeight": float(patient.patients_weight),
        }  # fmt: skip
        facts |= {k: v for k, v in known.items() if v}
    return Acquisition(
        np.ones(len(crystals), np.uint8), scan, "PT", unit="{counts}", calibration=aside,
        provenance=Provenance((Source("raw", path.name),)), attributes=facts,
    )  # fmt: skip


def _described(scanner: Any, positions: Float) -> tuple[dict[str, Any], int]:
    """The nearest cylinder, with the TOF bins; and their number."""
    radii = np.hypot(positions[:, 0], positions[:, 1])
    rings = np.unique(np.round(positions[:, 2], 2))
    spacing = float(np.median(np.diff(rings))) if len(rings) > 1 else 4.0
    per_ring = max(4, 2 * round(len(positions) / len(rings) / 2))
    found: dict[str, Any] = {
        "name": scanner.model_name or "PETSIRD", "rings": len(rings), "crystals": per_ring,
        "radius": float(radii.mean()), "ring_spacing": spacing,
    }  # fmt: skip
    edges = np.asarray(scanner.tof_bin_edges[0][0].edges, np.float64)
    bins = len(edges) - 1
    if bins > 1:
        width = np.diff(edges)
        centred = np.abs(edges + edges[::-1]).max() < 1e-3 * width.mean()
        if not np.allclose(width, width[0], rtol=1e-3) or not centred:
            raise UnsupportedFormat("TOF bins of unequal widths, or off the middle of the line")
        found |= {
            "tof_bins": bins, "tof_bin_ps": float(width[0] / _MM_PER_PS),
            "tof_resolution_ps": float(scanner.tof_resolution[0][0]) / _MM_PER_PS,
        }  # fmt: skip
    return found, bins


def _grid(positions: Float, described: dict[str, Any]) -> Grid:
    """Voxels inside the crystals."""
    inner = 0.7 * float(np.hypot(positions[:, 0], positions[:, 1]).min())
    n = int(min(128, max(16, described["crystals"] // 3)))
    step = 2 * inner / n
    low, high = float(positions[:, 2].min()), float(positions[:, 2].max())
    dz = described["ring_spacing"] / 2 if described["rings"] > 1 else step
    nz = max(1, round((high - low) / dz) + 1)
    origin = (-(n - 1) / 2 * step, -(n - 1) / 2 * step, low)
    return Grid.from_spacing((nz, n, n), (dz, step, step), origin=origin)
