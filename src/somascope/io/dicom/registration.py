"""Warps as DICOM Spatial Registration and Deformable Spatial Registration (PS3.3 A.39, C.20).

The registered frame of reference is the fixed image's, the source's the moving image's. A matrix
takes source points to registered ones; of several the first in the sequence comes first (equation
C.20.2-2). A deformation goes the other way, from registered to source points, and its grid lies in
the registered frame, before any matrix (C.20.3.1.1):
``source = post (pre registered + vector(registered))``.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset

from somascope.core.errors import CorruptFile, ReadError, UnsupportedFormat, WriteError
from somascope.core.finding import Warp
from somascope.core.grid import Array, Float, Grid
from somascope.core.provenance import Provenance, Source
from somascope.io.dicom import carry, compose, iods, uid, validate
from somascope.io.dicom.compose import Titles
from somascope.io.dicom.encode import Encoder, dataset

_POINT = Grid((1, 1, 1), np.eye(4))


def instances(
    warp: Warp, *, description: str = "", series_description: str | None = None,
    series_number: int | None = None, created: datetime | None = None,
) -> list[bytes]:  # fmt: skip
    """Part 10 bytes of ``warp``: one instance in a series of its own, of the fixed image's study.

    ``description`` becomes Content Description; by default the verdict of a warp that has one,
    whose evidence is told in Image Comments. Frames of reference that the warp does not name are
    derived from it.

    Raises
    ------
    WriteError
        The displacement's grid is sheared, or the linear part has no inverse.
    """
    verdict = getattr(warp, "verdict", None)
    description = description or ("" if verdict is None else verdict.words)
    bent = warp.displacement is not None
    kind = iods.DEFORMABLE if bent else iods.REGISTRATION
    grid = _upright(warp) if bent else None
    place = replace(
        warp.grid if warp.grid is not None and bent else _POINT,
        frame_of_reference=warp.fixed_frame,
    )
    parts = [np.ascontiguousarray(warp.matrix, np.float64).tobytes()]
    if bent:
        parts.append(np.ascontiguousarray(warp.displacement).tobytes())
    content = np.frombuffer(b"".join(parts), np.uint8)
    facts = carry.tidy(carry.without_equipment(warp.attributes))
    series = compose.begin(
        kind=kind, modality="REG", attributes=facts, record=warp.provenance,
        grid=place, content=compose.identity(content, place, "registration"),
        titles=Titles(series_description or "Registration", series_number, created),
    )  # fmt: skip
    source = warp.moving_frame or uid.derive("frame", series.uid, "moving")
    date, time = carry.when(warp.attributes)
    own: dict[str, Any] = {
        "DeviceSerialNumber": str(warp.attributes.get("DeviceSerialNumber") or "unknown"),
        "SOPInstanceUID": series.sop(0), "InstanceNumber": 1, "ContentDate": date or "19000101",
        "ContentTime": time or "000000", "ContentLabel": "REGISTRATION",
        "ContentDescription": description[:64] or None, "ContentCreatorName": None,
        "FrameOfReferenceUID": series.frame, "PositionReferenceIndicator": None,
        **compose.referenced(warp.provenance, series.source_class),
    }  # fmt: skip
    if verdict is not None:
        own["ImageComments"] = verdict.text
    if grid is None:
        own["RegistrationSequence"] = [
            _matrix_item(series.frame, np.eye(4)), _matrix_item(source, _inverse(warp.matrix)),
        ]  # fmt: skip
    else:
        own["DeformableRegistrationSequence"] = [_field_item(warp, grid, source)]
    carry.complete(series.shared, kind.iod)
    file = Encoder(series.shared).part10(dataset(own), [])
    validate.demand(file, "the registration")
    return [file]


def _inverse(matrix: Float) -> Float:
    try:
        return np.asarray(np.linalg.inv(matrix), np.float64)
    except np.linalg.LinAlgError as error:
        raise WriteError("the warp's matrix has no inverse, which DICOM asks for") from error


def _matrix(matrix: Float) -> dict[str, Any]:
    linear = matrix[:3, :3]
    rigid = np.allclose(linear @ linear.T, np.eye(3), atol=1e-6) and np.linalg.det(linear) > 0
    return {
        "FrameOfReferenceTransformationMatrix": [float(v) for v in matrix.ravel()],
        "FrameOfReferenceTransformationMatrixType": "RIGID" if rigid else "AFFINE",
    }


def _matrix_item(frame: str, matrix: Float) -> dict[str, Any]:
    return {
        "FrameOfReferenceUID": frame,
        "MatrixRegistrationSequence": [
            {"RegistrationTypeCodeSequence": [], "MatrixSequence": [_matrix(matrix)]}
        ],
    }


def _upright(warp: Warp) -> Grid:
    assert warp.grid is not None
    if not warp.grid.is_orthogonal():
        raise WriteError(
            "the displacement lies on a sheared grid, which DICOM cannot say; resample the warp"
        )
    return warp.grid


def _field_item(warp: Warp, grid: Grid, source: str) -> dict[str, Any]:
    field = np.asarray(warp.displacement)
    if np.linalg.det(grid.direction[:, ::-1]) < 0:
        # DICOM's third axis is rows times columns: the stack is told from its other end.
        field = field[:, ::-1]
        grid = grid.moved(start=(grid.shape[0] - 1, 0, 0), shape=grid.shape, step=(-1, 1, 1))
    vectors = np.einsum("ij,jzyx->zyxi", np.linalg.inv(warp.matrix[:3, :3]), field)
    return {
        "SourceFrameOfReferenceUID": source,
        "RegistrationTypeCodeSequence": [],
        "PreDeformationMatrixRegistrationSequence": [_matrix(np.eye(4))],
        "PostDeformationMatrixRegistrationSequence": [_matrix(np.asarray(warp.matrix))],
        "DeformableRegistrationGridSequence": [
            {
                "ImageOrientationPatient": [
                    *(float(v) for v in grid.direction[:, 2]),
                    *(float(v) for v in grid.direction[:, 1]),
                ],
                "ImagePositionPatient": [float(v) for v in grid.origin],
                "GridDimensions": list(grid.shape[::-1]),
                "GridResolution": [float(v) for v in grid.spacing[::-1]],
                "VectorGridData": np.ascontiguousarray(vectors, "<f4").tobytes(),
            }
        ],
    }


def read(source: bytes | memoryview | Path) -> Warp:
    """The warp of a registration instance, ours or another's.

    Raises
    ------
    UnsupportedFormat
        Not a registration, or one of several sources or of matrices in a chain.
    CorruptFile
        Damaged.
    """
    name = source.name if isinstance(source, Path) else "the instance"
    try:
        found = dcmread(source if isinstance(source, Path) else BytesIO(bytes(source)))
    except Exception as error:
        raise ReadError(f"{name} cannot be read as DICOM: {error}") from error
    kind = str(found.get("SOPClassUID", ""))
    if kind not in (iods.REGISTRATION.sop_class, iods.DEFORMABLE.sop_class):
        raise UnsupportedFormat(f"{name}: SOP class {kind} is no spatial registration")
    frame = str(found.get("FrameOfReferenceUID", ""))
    try:
        made = _linear(found, frame) if kind == iods.REGISTRATION.sop_class else _bent(found, frame)
    except (KeyError, AttributeError, ValueError, IndexError, TypeError) as error:
        raise CorruptFile(f"{name}: a registration that lacks {error}") from error
    series, sop = str(found.get("SeriesInstanceUID", "")), str(found.get("SOPInstanceUID", ""))
    own = {"SeriesInstanceUID": series, "SOPClassUID": kind}
    return replace(
        made, fixed_frame=frame, provenance=Provenance((Source("dicom", series, (sop,)),)),
        attributes={**carry.facts(found), **own},
    )  # fmt: skip


def _given(item: Dataset) -> Float:
    values = np.array([float(v) for v in item.FrameOfReferenceTransformationMatrix])
    return values.reshape(4, 4)


def _linear(found: Dataset, frame: str) -> Warp:
    every = list(found.RegistrationSequence)
    others = [i for i in every if str(i.get("FrameOfReferenceUID", "")) != frame]
    if not others:
        # Two examinations of one frame of reference: the second is told after the first.
        others = every[1:]
    if len(others) != 1:
        raise UnsupportedFormat(
            f"the registration joins {len(others)} other frames of reference to its own; one is "
            "read"
        )
    matrix = np.eye(4)
    for item in others[0].MatrixRegistrationSequence[0].MatrixSequence:
        matrix = _given(item) @ matrix
    back = np.asarray(np.linalg.inv(matrix), np.float64)
    return Warp(matrix=back, moving_frame=str(others[0].FrameOfReferenceUID))


def _bent(found: Dataset, frame: str) -> Warp:
    every = list(found.DeformableRegistrationSequence)
    items = [i for i in every if i.get("DeformableRegistrationGridSequence")]
    if not items:
        # Some systems put a rigid map into this object: its offsets are zero then (C.20.3.1.1).
        items = [i for i in every if str(i.SourceFrameOfReferenceUID) != frame]
    if len(items) != 1:
        raise UnsupportedFormat(f"the registration holds {len(items)} deformations; one is read")
    item = items[0]
    pre, post = (
        _given(item[word].value[0]) if item.get(word) else np.eye(4)
        for word in (
            "PreDeformationMatrixRegistrationSequence", "PostDeformationMatrixRegistrationSequence",
        )
    )  # fmt: skip
    source = str(item.SourceFrameOfReferenceUID)
    if not item.get("DeformableRegistrationGridSequence"):
        return Warp(matrix=post @ pre, moving_frame=source)
    told = item.DeformableRegistrationGridSequence[0]
    nx, ny, nz = (int(n) for n in told.GridDimensions)
    dx, dy, dz = (float(v) for v in told.GridResolution)
    row, column = np.array([float(v) for v in told.ImageOrientationPatient]).reshape(2, 3)
    affine = np.eye(4)
    affine[:3, :3] = np.stack([np.cross(row, column) * dz, column * dy, row * dx], axis=1)
    affine[:3, 3] = [float(v) for v in told.ImagePositionPatient]
    raw: Array = np.frombuffer(told.VectorGridData, "<f4")
    if raw.size != 3 * nx * ny * nz:
        raise CorruptFile(f"Vector Grid Data holds {raw.size} numbers for {nx}x{ny}x{nz} points")
    vectors = _defined(raw.reshape(nz, ny, nx, 3))
    field = np.einsum("ij,zyxj->izyx", post[:3, :3], vectors)
    return Warp(
        matrix=post @ pre, grid=Grid((nz, ny, nx), affine, frame),
        displacement=np.ascontiguousarray(field, np.float32), moving_frame=source,
    )  # fmt: skip


def _defined(vectors: Array) -> Array:
    """Vectors ``(nz, ny, nx, 3)``; undefined ones, not-a-numbers (C.20.3.1.3), get the nearest."""
    missing = ~np.isfinite(vectors).all(axis=-1)
    if not missing.any():
        return vectors
    if missing.all():
        raise CorruptFile("Vector Grid Data defines no vector")
    from scipy.ndimage import distance_transform_edt

    at = distance_transform_edt(missing, return_distances=False, return_indices=True)
    return vectors[tuple(np.asarray(at))]
