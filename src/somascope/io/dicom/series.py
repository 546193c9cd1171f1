"""Instances become volumes: by geometry and by what their headers say, never by file name."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from somascope.core.errors import Cancelled, ReadError, SomascopeError
from somascope.core.image import Axis, Image
from somascope.core.progress import QUIET, Progress
from somascope.core.provenance import Provenance, Source
from somascope.io.dicom import facts, geometry, pet
from somascope.io.dicom.assemble import Stack, stacks
from somascope.io.dicom.load import Damaged, voxels
from somascope.io.dicom.pixels import open_instance
from somascope.io.dicom.slices import Slice, slices_of

TILT_DEGREES = 0.1
"""A smaller angle between stack and normal is rounding."""

_DIRECTORY = "1.2.840.10008.1.3.10"


Places: TypeAlias = list[tuple[str, int]]
"""SOP Instance UID and frame (from 1) of planes."""


class Problem(NamedTuple):
    """A file or a series, and what is wrong or worth knowing."""

    name: str
    reason: str


def volumes(
    sources: Iterable[bytes | memoryview | Path | str],
    *,
    progress: Progress = QUIET,
    allow_uneven: bool = False,
    series: str | None = None,
    places: list[Places] | None = None,
) -> tuple[list[Image], list[Problem]]:
    """Read DICOM instances and assemble every volume in them.

    Parameters
    ----------
    sources
        Part 10 files: paths (a folder stands for all files in it) or bytes.
    allow_uneven
        Resample unevenly spaced slices to even ones (recorded in the provenance). Otherwise the
        evenly spaced parts become volumes of their own.
    series
        Only this Series Instance UID.
    places
        Gets, for every volume, the instance and frame of each of its planes.

    Returns
    -------
    images, problems
        Volumes in the order of Series Number. `problems` names every file that was not read and
        everything worth knowing about the others: missing or repeated slices, gantry tilt (which
        stays in ``grid.affine`` as shear; `geometry.correct_tilt` resamples it), parts told apart.
        Nothing is raised for a bad file.
    """
    problems: list[Problem] = []
    groups = _groups(sources, series, problems, progress)
    total = sum(len(g) for g in groups) or 1
    images: list[Image] = []
    done = 0
    for group in groups:
        share, before = len(group) / total, done / total
        part = Progress(lambda f, m, b=before, s=share: progress(0.3 + 0.7 * (b + s * f), m))
        made, where = _images(group, allow_uneven=allow_uneven, problems=problems, progress=part)
        images += made
        if places is not None:
            places += where
        done += len(group)
    progress(1.0, "read")
    return images, problems


def _expanded(sources: Iterable[bytes | memoryview | Path | str]) -> Iterator[Any]:
    for source in sources:
        if isinstance(source, (str, Path)) and os.path.isdir(source):  # noqa: PTH112 - cheap, per slice
            for folder, names, files in os.walk(source):
                names.sort()
                yield from (os.path.join(folder, f) for f in sorted(files))  # noqa: PTH118
        else:
            yield source


def _groups(
    sources: Iterable[bytes | memoryview | Path | str],
    series: str | None,
    problems: list[Problem],
    progress: Progress,
) -> list[list[Slice]]:
    """Slices that may form volumes together, in the order of series and first appearance."""
    found: dict[tuple[Any, ...], list[Slice]] = {}
    rank: dict[tuple[Any, ...], tuple[Any, ...]] = {}
    everything = list(_expanded(sources))
    for i, source in enumerate(everything):
        name = os.path.basename(source) if isinstance(source, (str, Path)) else f"instance {i + 1}"  # noqa: PTH119
        progress(0.3 * i / len(everything), "headers")
        try:
            instance = open_instance(source, name=name)
            e = instance.elements
            uid = e.text("SeriesInstanceUID")
            if series is not None and uid != series:
                continue
            if not instance.has_pixels:
                kind = e.text("Modality") or "a DICOMDIR or other data"
                problems.append(Problem(name, f"is no image ({kind})"))
                continue
            slices = slices_of(instance)
        except ReadError as error:
            problems.append(Problem(name, _unnamed(str(error), name)))
            continue
        modality, number = e.text("Modality", "OT"), e.integer("SeriesNumber")
        for s in slices:
            form = instance.form
            key = (
                uid, modality, s.shape, form.colour, form.kind, s.kind, s.rescale.unit,
                s.orientation is None, s.position is None, s.flat,
            )  # fmt: skip
            found.setdefault(key, []).append(s)
            rank.setdefault(key, (number, uid, len(rank)))
    ordered = sorted(found, key=lambda k: rank[k])
    groups = [part for key in ordered for part in _alike(found[key])]
    kinds = Counter(g[0].instance.elements.text("SeriesInstanceUID") for g in groups)
    for uid, count in kinds.items():
        if count > 1:
            problems.append(
                Problem(
                    uid,
                    f"the series holds {count} kinds of slices (they differ in image type, size, "
                    "orientation, spacing or unit); each became a volume of its own",
                )
            )
    return groups


def _unnamed(reason: str, name: str) -> str:
    return reason.removeprefix(f"{name}: ")


def _alike(slices: list[Slice]) -> list[list[Slice]]:
    """Part slices whose orientation or pixel spacing differ beyond rounding."""
    parts: list[tuple[Slice, list[Slice]]] = []
    known: dict[Any, list[Slice]] = {}
    for s in slices:
        key = (s.orientation, s.spacing)
        part = known.get(key)
        if part is None:
            for head, members in parts:
                if _same_plane(head, s):
                    part = members
                    break
            else:
                part = []
                parts.append((s, part))
            known[key] = part
        part.append(s)
    return [members for _, members in parts]


def _same_plane(a: Slice, b: Slice) -> bool:
    if not np.allclose(a.spacing, b.spacing, rtol=1e-4):
        return False
    if a.orientation is None or b.orientation is None:
        return a.orientation is b.orientation
    return max(abs(p - q) for p, q in zip(a.orientation, b.orientation, strict=True)) < 1e-3


def _images(
    slices: list[Slice], *, allow_uneven: bool, problems: list[Problem], progress: Progress
) -> tuple[list[Image], list[Places]]:
    """All images of one group; slices that cannot be decoded are said and left out."""
    first = slices[0]
    label = first.instance.elements.text("SeriesInstanceUID") or first.instance.elements.name
    for _ in range(3):
        try:
            made, remarks = stacks(slices, allow_uneven=allow_uneven)
        except ReadError as error:
            problems.append(Problem(label, str(error)))
            return [], []
        images, places, count = [], [], len(made)
        broken: dict[int, str] = {}
        for n, stack in enumerate(made):
            part = Progress(lambda f, m, n=n, k=count: progress((n + f) / k, m))
            try:
                images.append(_image(stack, label, remarks, part))
                places.append(_places(stack))
            except Damaged as damaged:
                for s, error in damaged.slices:
                    name = s.instance.elements.name
                    broken[id(s)] = name
                    problem = Problem(name, _unnamed(str(error), name))
                    if problem not in problems:
                        problems.append(problem)
            except Cancelled:
                raise
            except SomascopeError as error:  # a grid that is none, say
                problems.append(Problem(label, str(error)))
        if not broken:
            problems += [Problem(label, r) for r in dict.fromkeys(remarks)]
            return images, places
        slices = [s for s in slices if id(s) not in broken]
        if not slices:
            return [], []
    return images, places


def _places(stack: Stack) -> Places:
    """Of each plane ``[leading..., z]``, raveled; none where planes were resampled."""
    if stack.uneven:
        return []
    return [(s.uid, s.frame) for s in (stack.slices[int(i)] for i in stack.table.ravel())]


def _image(stack: Stack, label: str, remarks: list[str], progress: Progress) -> Image:
    data = voxels(stack, progress=progress)
    head = stack.slices[int(stack.table.ravel()[0])]
    e = head.instance.elements
    axes = stack.axes
    if head.instance.form.colour:
        axes = (*axes, Axis("channel"))
    nz = stack.table.shape[-1]
    origin = head.position
    grid = geometry.grid_of(
        head.orientation,
        head.spacing,
        origin=origin,
        step=stack.step,
        thickness=abs(head.thickness),
        shape=(nz, *head.shape),
        frame_of_reference=e.text("FrameOfReferenceUID"),
    )
    order = [stack.slices[int(i)] for i in stack.table.ravel()]
    uids = tuple(dict.fromkeys(s.uid for s in order if s.uid))
    attributes = facts.attributes(head, [a.name for a in axes])
    if len({s.rescale for s in order}) == 1 and not head.rescale.table:
        # How stored values became these: presentation states speak of both.
        attributes["RescaleSlope"] = float(head.rescale.slope)
        attributes["RescaleIntercept"] = float(head.rescale.intercept)
    if stack.gradients:
        attributes["DiffusionGradientOrientation"] = [list(g) for g in stack.gradients]
    if e.text("Modality") == "PT":
        attributes.update(pet.timing(stack.slices, stack.table, [a.name for a in stack.axes]))
        if (position := pet.position_of(e)) and "PatientPosition" not in attributes:
            attributes["PatientPosition"] = position
    if 0x53531005 in e:
        from somascope.io.dicom import run_facts

        attributes.update(run_facts.read(e, grid))
    image = Image(
        data, grid, modality=e.text("Modality", "OT"), unit=head.rescale.unit, axes=axes,
        provenance=Provenance(sources=(Source("dicom", label, uids),)), attributes=attributes,
    )  # fmt: skip
    if stack.uneven and stack.positions is not None:
        image = geometry.evened(image, stack.positions)
    tilt = geometry.tilt_degrees(image.grid)
    if nz > 1 and tilt > TILT_DEGREES:
        remarks.append(
            f"the stack of {nz} slices is tilted by {tilt:.2f} degrees (gantry tilt); it was kept "
            "as scanned, correct_tilt() resamples it upright"
        )
    return image
