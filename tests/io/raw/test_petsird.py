"""PETSIRD files written with its own package: geometry, events, images."""

from __future__ import annotations

import importlib.metadata
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from somascope.acquire.pet.listmode import ListModeScan
from somascope.acquire.pet.listmode_osem import listmode_osem
from somascope.core import Acquisition
from somascope.core.errors import CorruptFile, MissingExtra, ReadError, UnsupportedFormat
from somascope.io.raw import petsird as reader
from somascope.phantoms import Ellipsoid, draw

petsird: Any = pytest.importorskip("petsird")
if not importlib.metadata.version("petsird").startswith("0.12."):
    pytest.skip("petsird 0.12 is needed", allow_module_level=True)

MODULES, ACROSS, ALONG, PITCH, RADIUS = 16, 4, 5, 8.0, 110.0


def matrix(rows: list[list[float]]) -> Any:
    return petsird.RigidTransformation(matrix=np.array(rows, np.float32))


def header(*, tof_bins: int = 1, energies: int = 1, types: int = 1) -> Any:
    corners = [(x, y, z) for x in (0, 10) for y in (-4, 4) for z in (-4, 4)]
    box = petsird.BoxSolidVolume(
        shape=petsird.BoxShape(
            corners=[petsird.Coordinate(c=np.array(c, np.float32)) for c in corners]
        ),
        material_id=1,
    )
    elements = petsird.ReplicatedBoxSolidVolume(object=box)
    for i in range(ACROSS):
        for k in range(ALONG):
            y, z = (i - (ACROSS - 1) / 2) * PITCH, (k - (ALONG - 1) / 2) * PITCH
            elements.transforms.append(matrix([[1, 0, 0, RADIUS], [0, 1, 0, y], [0, 0, 1, z]]))
    module = petsird.ReplicatedDetectorModule(
        object=petsird.DetectorModule(detecting_elements=elements)
    )
    for m in range(MODULES):
        a = 2 * math.pi * m / MODULES
        module.transforms.append(
            matrix([[math.cos(a), -math.sin(a), 0, 0], [math.sin(a), math.cos(a), 0, 0],
                    [0, 0, 1, 0]])
        )  # fmt: skip
    geometry = petsird.ScannerGeometry(replicated_modules=[module] * types)
    scanner = petsird.ScannerInformation(model_name="Blocks", scanner_geometry=geometry)
    edges = np.linspace(-120, 120, tof_bins + 1, dtype=np.float32)
    scanner.tof_bin_edges = [[petsird.BinEdges(edges=edges)]]
    scanner.tof_resolution = [[60.0]]
    scanner.event_energy_bin_edges = [
        petsird.BinEdges(edges=np.linspace(430, 650, energies + 1, dtype=np.float32))
    ]
    scanner.energy_resolution_at_511 = [0.1]
    scanner.prompt_event_policy = petsird.CoincidencePolicy.REJECT_HIGHER_MULTIPLES
    exam = petsird.ExamInformation(
        patient=petsird.DICOMPatientInformation(patient_id="P7", patients_weight=65.0)
    )
    return petsird.Header(scanner=scanner, exam=exam)


def write(path: Path, head: Any, events: np.ndarray) -> None:
    with path.open("wb") as stream, petsird.BinaryPETSIRDWriter(stream) as writer:
        writer.write_header(head)
        half = len(events) // 2
        for k, part in enumerate((events[:half], events[half:])):
            made = [
                petsird.CoincidenceEvent(detection_bins=[int(a), int(b)], tof_idx=int(t))
                for a, b, t in part
            ]
            block = petsird.EventTimeBlock(
                time_interval=petsird.TimeInterval(start=1000 * k, stop=1000 * (k + 1)),
                prompt_events=[[made]],
            )
            writer.write_time_blocks((petsird.TimeBlock.EventTimeBlock(block),))


def drawn(head: Any, *, tof_bins: int) -> tuple[np.ndarray, np.ndarray]:
    """Events of a hot rod at (30, -20) in a warm cylinder, from all pairs of crystals."""
    positions = reader.crystal_positions(head.scanner)
    pairs = np.stack(np.tril_indices(len(positions), -1), axis=1).astype(np.int32)
    grid = reader._grid(positions, {"ring_spacing": PITCH, "rings": ALONG, "crystals": 64})
    body = [Ellipsoid(1.0, (0, 0, 0), (60, 60, 60)), Ellipsoid(8.0, (30, -20, 0), (12, 12, 60))]
    description, _ = reader._described(head.scanner, positions)
    rng = np.random.default_rng(3)
    found = []
    for t in range(tof_bins):
        scan = ListModeScan(
            grid=grid, scanner=description, crystals=pairs, positions=positions,
            tof=np.full(len(pairs), t) if tof_bins > 1 else None,
        )  # fmt: skip
        counts = rng.poisson(0.004 * scan.forward(draw(body, grid)))
        which = np.repeat(np.arange(len(pairs)), counts)
        found.append(np.column_stack([pairs[which], np.full(len(which), t)]))
    events = np.concatenate(found)
    return rng.permutation(events), positions


@pytest.mark.parametrize("tof_bins", [1, 5])
def test_a_file_comes_back_and_becomes_an_image(tmp_path: Path, tof_bins: int):
    head = header(tof_bins=tof_bins)
    events, positions = drawn(head, tof_bins=tof_bins)
    assert len(events) > 5000
    write(tmp_path / "a.petsird", head, events)
    raw = reader.read(tmp_path / "a.petsird")
    assert isinstance(raw, Acquisition)
    scan = raw.operator
    assert isinstance(scan, ListModeScan)
    assert np.array_equal(scan.crystals, events[:, :2])
    assert scan.positions == pytest.approx(positions)
    assert np.hypot(positions[0, 0], positions[0, 1]) == pytest.approx(np.hypot(115, 12), rel=1e-4)
    assert raw.attributes["ActualFrameDuration"] == 2000
    assert raw.attributes["PatientID"] == "P7"
    assert scan.scanner.tof_bins == tof_bins
    image = listmode_osem(raw, iterations=6, subsets=2, post_filter=8.0)
    middle = image.data[3:6].mean(axis=0)
    y, x = np.unravel_index(np.argmax(middle), middle.shape)
    place = image.grid.to_world([4, y, x])
    assert np.abs(place[:2] - [30, -20]).max() < 8
    warm = draw([Ellipsoid(1.0, (-20, 15, 0), (25, 25, 12))], image.grid) > 0
    hot = draw([Ellipsoid(1.0, (30, -20, 0), (6, 6, 12))], image.grid) > 0
    assert 3 < image.data[hot].mean() / image.data[warm].mean() < 10


def test_energies_are_no_crystals(tmp_path: Path):
    head = header(energies=3)
    events = np.array([[3 * 7 + 2, 3 * 5 + 1, 0], [300, 3, 0]])
    write(tmp_path / "a", head, events)
    raw = reader.read(tmp_path / "a")
    assert isinstance(raw.operator, ListModeScan)
    assert raw.operator.crystals.tolist() == [[7, 5], [100, 1]]


def test_refusals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write(tmp_path / "none", header(), np.zeros((0, 3), int))
    with pytest.raises(UnsupportedFormat, match="no prompt"):
        reader.read(tmp_path / "none")
    write(tmp_path / "two", header(types=2), np.array([[7, 5, 0]]))
    with pytest.raises(UnsupportedFormat, match="2 types"):
        reader.read(tmp_path / "two")
    write(tmp_path / "far", header(), np.array([[7000, 5, 0]]))
    with pytest.raises(CorruptFile, match="outside the scanner"):
        reader.read(tmp_path / "far")
    whole = (tmp_path / "far").read_bytes()
    for cut in (4, 40, len(whole) // 2, len(whole) - 3):
        (tmp_path / "cut").write_bytes(whole[:cut])
        with pytest.raises(ReadError):
            reader.read(tmp_path / "cut")
    monkeypatch.setattr(importlib.metadata, "version", lambda _: "0.13.2")
    with pytest.raises(MissingExtra, match=r"0\.13\.2 is installed"):
        reader.read(tmp_path / "far")


def test_damaged_bytes_end_in_a_reason(tmp_path: Path):
    rng = np.random.default_rng(0)
    events = np.column_stack([rng.integers(160, 320, 50), rng.integers(0, 160, 50), np.zeros(50)])
    write(tmp_path / "a", header(), events.astype(int))
    whole = (tmp_path / "a").read_bytes()
    refused = 0
    for _ in range(60):
        damaged = bytearray(whole)
        damaged[int(rng.integers(len(whole)))] ^= int(rng.integers(1, 256))
        (tmp_path / "b").write_bytes(damaged)
        try:
            reader.read(tmp_path / "b")
        except ReadError:
            refused += 1
    assert refused > 10
