"""Atlases on disk: one folder of NIfTI files and ``atlas.json`` with their SHA-256.

A folder is a set of labelled ``cases`` (for many atlases at once), or a ``probabilistic`` atlas: a
mean image and how often each label lies where.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from somascope.analyze.atlas import manifest
from somascope.analyze.atlas.cases import Case, agreed, case
from somascope.core import Axis, Image, Mask, Provenance, Segment, Source
from somascope.core.errors import CorruptFile, GeometryError, ParameterError
from somascope.core.grid import Array
from somascope.io import read_all, write

CASES = "cases"
PROBABILISTIC = "probabilistic"
_KEPT = ("BodyPartExamined", "SeriesDescription", "ProtocolName")
"""Attributes that decide how images are registered; nothing that names a patient is written."""


@dataclass(frozen=True, eq=False)
class Atlas:
    """A probabilistic atlas.

    Parameters
    ----------
    template
        The mean image ``(nz, ny, nx)``.
    priors
        How often each segment lies at a voxel: ``(segments, nz, ny, nx)`` in [0, 1] on the same
        grid, its leading axis ``label`` with the segments' numbers; what is missing to 1 is none.
    segments
        One for each entry of ``priors``.
    cases
        From how many examinations it was made.
    notes
        What its makers should know: cases that were aligned badly, by number.
    """

    template: Image
    priors: Image
    segments: tuple[Segment, ...]
    cases: int
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.priors.axis_names != ("label", "z", "y", "x"):
            raise GeometryError(
                f"the priors have axes {self.priors.axis_names}; give label, z, y, x"
            )
        if not self.priors.grid.allclose(self.template.grid, tolerance_mm=0.01):
            raise GeometryError(
                f"the priors lie on {self.priors.grid!r} and the template on {self.template.grid!r}"
            )
        if len(self.segments) != len(self.priors.data):
            raise ParameterError(
                f"{len(self.priors.data)} priors for {len(self.segments)} segments; give one each"
            )

    def mask(self) -> Mask:
        """The priors as a fractional mask."""
        return Mask(
            data=np.asarray(self.priors.data, np.float32), grid=self.template.grid,
            segments=self.segments, provenance=self.template.provenance,
            attributes=self.template.attributes,
        )  # fmt: skip

    def labels(self) -> Mask:
        """The likeliest label of each voxel, none where nothing is the likeliest."""
        planes = np.concatenate([1 - self.priors.data.sum(axis=0, keepdims=True), self.priors.data])
        table = np.array([0, *(s.number for s in self.segments)])
        found = table[planes.argmax(axis=0)]
        small = table.max() < 256
        return replace(self.mask(), data=found.astype(np.uint8 if small else np.uint16))


def priors_of(template: Image, planes: Array, segments: tuple[Segment, ...]) -> Image:
    """Planes ``(segments, nz, ny, nx)`` as an image with the leading axis ``label``."""
    axis = Axis("label", tuple(float(s.number) for s in segments))
    return replace(template, data=planes, axes=(axis,), unit="1")


def save(atlas: Atlas, folder: str | Path, *, overwrite: bool = False) -> None:
    """Write a probabilistic atlas; nothing about patients goes with it.

    Raises
    ------
    Conflict
        The folder holds an atlas already.
    """
    folder = Path(folder)
    manifest.begin(folder, overwrite=overwrite)
    write(atlas.template, folder / "template.nii.gz")
    write(atlas.priors, folder / "priors.nii.gz")
    facts = {
        "segments": manifest.written(atlas.segments), "cases": atlas.cases,
        "notes": list(atlas.notes), "image": _facts(atlas.template),
    }  # fmt: skip
    manifest.finish(folder, PROBABILISTIC, facts, ["template.nii.gz", "priors.nii.gz"])


def load(folder: str | Path) -> Atlas:
    """Read a probabilistic atlas, every file checked; for errors see `manifest.opened`."""
    record, files = manifest.opened(folder, PROBABILISTIC)
    template = _image(_file(files, "template.nii.gz", folder), record.get("image"))
    planes = _image(_file(files, "priors.nii.gz", folder), record.get("image"))
    segments = manifest.segments(record, folder)
    data = np.asarray(planes.data, np.float32).reshape(-1, *planes.grid.shape)
    if planes.grid.shape != template.grid.shape or len(data) != len(segments):
        raise CorruptFile(f"{folder}: template, priors and segments do not belong together")
    priors = priors_of(template, data, segments)
    notes = record.get("notes")
    return Atlas(
        template, priors, segments, int(record.get("cases") or 0),
        tuple(str(n) for n in notes) if isinstance(notes, list) else (),
    )  # fmt: skip


def save_cases(cases: Sequence[Case], folder: str | Path, *, overwrite: bool = False) -> None:
    """Write labelled cases; their names are numbers, nothing about patients goes with them.

    Raises
    ------
    Conflict
        The folder holds an atlas already.
    ParameterError
        There is no case, or their labels' numbers mean different things.
    """
    if not cases:
        raise ParameterError("there is no case to write")
    segments = agreed([c.labels for c in cases], "save_cases")
    folder = Path(folder)
    manifest.begin(folder, overwrite=overwrite)
    names: list[str] = []
    for k, one in enumerate(cases, start=1):
        pair = f"case-{k:03d}-image.nii.gz", f"case-{k:03d}-labels.nii.gz"
        write(one.image, folder / pair[0])
        write(one.labels, folder / pair[1])
        names += pair
    facts = {
        "segments": manifest.written(segments), "images": [_facts(c.image) for c in cases],
    }  # fmt: skip
    manifest.finish(folder, CASES, facts, names)


def load_cases(folder: str | Path) -> list[Case]:
    """Read labelled cases, every file checked; for errors see `manifest.opened`."""
    record, files = manifest.opened(folder, CASES)
    segments = manifest.segments(record, folder)
    images = record.get("images")
    facts = images if isinstance(images, list) else []
    found: list[Case] = []
    for k in range(1, len(files) // 2 + 1):
        name = f"case-{k:03d}"
        image = _image(
            _file(files, f"{name}-image.nii.gz", folder), facts[k - 1] if k <= len(facts) else None
        )
        path = _file(files, f"{name}-labels.nii.gz", folder)
        drawn = _image(path, None)
        if drawn.data.dtype.kind != "u" or drawn.data.size != np.prod(drawn.grid.shape):
            raise CorruptFile(f"{path} is no label map of whole numbers")
        labels = Mask(
            data=drawn.data.reshape(drawn.grid.shape), grid=drawn.grid, segments=segments,
            provenance=drawn.provenance,
        )  # fmt: skip
        found.append(case(image, labels, name=f"{Path(folder).name}/{name}"))
    if not found:
        raise CorruptFile(f"{folder} holds no case")
    return found


def _file(files: dict[str, Path], name: str, folder: str | Path) -> Path:
    if name not in files:
        raise CorruptFile(f"{Path(folder) / manifest.MANIFEST} does not list {name}")
    return files[name]


def _facts(image: Image) -> dict[str, Any]:
    kept = {k: str(image.attributes[k]) for k in _KEPT if image.attributes.get(k)}
    return {"modality": image.modality, "unit": image.unit, "attributes": kept}


def _image(path: Path, facts: Any) -> Image:
    images = read_all(path).images
    if len(images) != 1:
        raise CorruptFile(f"{path} holds {len(images)} images; one is expected")
    told: dict[str, Any] = facts if isinstance(facts, dict) else {}
    kept = told.get("attributes")
    attributes = {str(k): str(v) for k, v in kept.items()} if isinstance(kept, dict) else {}
    return replace(
        images[0], modality=str(told.get("modality") or "OT"), unit=str(told.get("unit") or "1"),
        attributes=attributes,
        provenance=Provenance((Source("file", path.name, sha256=manifest.digest(path)),)),
    )  # fmt: skip
