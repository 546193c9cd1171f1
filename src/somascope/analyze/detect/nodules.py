"""`detect.lung_nodules`: candidates, measurements and rules, and every step told.

The pattern of candidate and rule: blobs in the lungs are outlined by half their contrast, measured,
and those that are too long, too faint or grown together with a wall are sorted out by rules
that name themselves. What is left is judged by the guideline of `analyze.rules`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Literal

import numpy as np

from somascope.analyze.detect.blobs import Blobs, find
from somascope.analyze.measure import codes
from somascope.analyze.measure.lesions import measure_lesions
from somascope.analyze.rules import decide, load
from somascope.analyze.segment.seeds import volume_of
from somascope.analyze.threshold import COLOURS
from somascope.core import (
    QUIET,
    Code,
    Image,
    Label,
    Mask,
    Measurement,
    Param,
    Progress,
    Provenance,
    Segment,
    Tracking,
    operation,
)
from somascope.core.errors import ParameterError
from somascope.core.grid import Array
from somascope.io.dicom import uid
from somascope.process.choices import mask_of
from somascope.process.components import fill_holes
from somascope.process.components import label as components
from somascope.process.morphology import closed

_NAME = "detect.lung_nodules"

NODULE = Code("27925004", "SCT", "Nodule")
REJECTED = Code("CANDIDATE_OUT", "99SOMASCOPE", "Candidate sorted out")
SOLID = Code("NODULE_SOLID", "99SOMASCOPE", "Solid nodule")
GLASS = Code("NODULE_GLASS", "99SOMASCOPE", "Ground glass nodule")
BASELINE = Code("LESION_BASELINE", "99SOMASCOPE", "Lesion of the first examination")

AIR = -400.0
"""HU below which it is lung or air."""

SOLID_FROM = -300.0
"""Mean HU of a core that is solid."""

CLOSING = 8.0
"""mm: nodules and vessels at the border of a lung belong to its region."""

_LEAST_LUNG = 30.0
"""ml of air that may be a lung."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """A blob's voxels ``inside`` the box ``at``, and why it is no nodule (empty: it is one)."""

    at: tuple[slice, ...]
    inside: Array
    why: str


def lungs(values: Array, known: Array, spacing: tuple[float, float, float], voxel: float) -> Array:
    """The lungs with what lies in them, bool: air that does not reach the sides of the image."""
    air = known & (values < AIR)
    parts, counts = components(air, connectivity=6)
    outer = np.zeros(counts.size + 1, bool)
    for side in (parts[:, 0], parts[:, -1], parts[:, :, 0], parts[:, :, -1]):
        outer[np.unique(side)] = True
    outer[1:] |= counts * voxel / 1000 < _LEAST_LUNG
    outer[0] = True
    within = ~outer[parts]
    return fill_holes(closed(within, spacing, CLOSING)) if within.any() else within


def outlined(
    values: Array, image: Image, found: Blobs, k: int, lung: Array, longest: float
) -> Candidate:
    """A blob outlined at half its contrast, and judged by its shape."""
    spacing = np.asarray(image.grid.spacing)
    centre = np.clip(np.rint(found.index[k]).astype(int), 0, np.array(values.shape) - 1)
    # Three radii: what is no nodule runs out of them.
    reach = 1.5 * found.diameter[k]
    half = np.ceil(reach / spacing).astype(int) + 1
    at = tuple(
        slice(max(c - h, 0), min(c + h + 1, n))
        for c, h, n in zip(centre, half, values.shape, strict=True)
    )
    block = values[at]
    middle = centre - np.array([s.start for s in at])
    away = np.linalg.norm((np.indices(block.shape).T - middle) * spacing, axis=-1).T
    core = block[away <= max(0.25 * found.diameter[k], float(spacing.max()))]
    around = block[(away > 0.75 * found.diameter[k]) & (away <= reach) & lung[at]]
    if not around.size:
        return Candidate(at, away < 0, "it has no lung around it")
    inner, outer = float(np.median(core)), float(np.median(around))
    beyond = block > 0.5 * (inner + outer)
    parts, _ = components(beyond & (away <= reach), connectivity=6)
    number = parts[tuple(middle)]
    if number == 0:
        return Candidate(at, away < 0, "its middle is not denser than half its contrast")
    body = fill_holes(parts == number)
    places = np.argwhere(body) * spacing
    if (body & (away > 0.9 * reach)).any():
        return Candidate(at, body, "it runs on into a vessel or a wall")
    if (body & ~lung[at]).sum() > 0.2 * body.sum():
        return Candidate(at, body, "it lies outside of the lung")
    spread = (
        np.linalg.eigvalsh(np.cov(places.T) + np.diag(spacing**2) / 12)
        if len(places) > 3
        else np.ones(3)
    )
    ratio = float(np.sqrt(spread[-1] / spread[1]))
    if ratio > longest:
        return Candidate(at, body, f"it is {ratio:.1f} times as long as wide, as vessels are")
    return Candidate(at, body, "")


@operation(_NAME)
def lung_nodules(
    image: Image,
    *,
    smallest: Annotated[
        float, Param("Smallest diameter", unit="mm", minimum=1.0, maximum=50.0)
    ] = 4.0,
    largest: Annotated[
        float, Param("Largest diameter", unit="mm", minimum=2.0, maximum=100.0)
    ] = 30.0,
    contrast: Annotated[
        float, Param("Least density above the lung's", unit="HU", minimum=20.0, maximum=2000.0)
    ] = 200.0,
    longest: Annotated[
        float, Param("Most length over width", minimum=1.0, maximum=10.0, advanced=True)
    ] = 2.0,
    course: Annotated[
        Literal["baseline", "new"], Param("First examination, or a nodule that was not there")
    ] = "baseline",
    rules: Annotated[
        str,
        Param("Rule sets to judge by (see analyze.apply_rules), with commas between",
              opens="rules"),
    ] = "lung-rads-2022",
    progress: Progress = QUIET,
) -> list[Mask | Measurement | Label]:  # fmt: skip
    """Find nodules in the lungs of a CT, measure them, and say what a guideline makes of them.

    Lungs by density, blobs in them (`detect.blobs`), outlines at half their contrast; what is too
    long, runs into a vessel or lies outside is sorted out, and a label says which and why. The
    mask (one segment for each nodule, the largest first) is followed by size and density
    (`analyze.measure_lesions`), the kind (solid or ground glass by mean density), and the answers
    of the rule sets with reasons and sources. An example of candidate and rule: it has not
    been tried on patients.

    Raises
    ------
    ParameterError
        No CT in Hounsfield units, no lungs, or no nodule is found.
    """
    if image.unit != "[hnsf'U]":
        raise ParameterError(
            f"{_NAME} needs a CT in Hounsfield units and the image is in {image.unit!r}"
        )
    values, known = volume_of(image, _NAME)
    if smallest >= largest:
        raise ParameterError(
            f"{_NAME}: smallest is {smallest:g} and largest {largest:g} mm; give a range"
        )
    tables = [load(n.strip()) for n in rules.split(",") if n.strip()]
    progress(0.0, "lungs")
    lung = lungs(values, known, image.grid.spacing, image.grid.voxel_volume)
    if not lung.any():
        raise ParameterError(f"{_NAME}: no lungs are found below {AIR:g} HU; is this a chest CT?")
    progress(0.2, "candidates")
    # Walls and heart are no candidates: outside of the lungs all is as dark as they are.
    level = np.float32(np.median(values[lung]))
    found = find(
        np.where(lung, values, level), image.grid.spacing, smallest=smallest, largest=largest,
        contrast=contrast, inside=lung, progress=Progress(lambda f, m: progress(0.2 + 0.6 * f, m)),
    )  # fmt: skip
    judged = [outlined(values, image, found, k, lung, longest) for k in range(len(found))]
    progress(0.85, f"{len(found)} candidates")
    nodules = [c for c in judged if not c.why]
    if not nodules:
        reasons = ", ".join(
            f"{sum(c.why == w for c in judged)}: {w}" for w in sorted({c.why for c in judged})
        )
        raise ParameterError(
            f"{_NAME}: none of {len(found)} candidates is a nodule ({reasons or 'none found'}); "
            "lower contrast, or widen the range of diameters"
        )
    mask = _drawn(image, nodules)
    told: list[Mask | Measurement | Label] = [mask]
    numbers = measure_lesions(mask, image)
    clean = [
        replace(m, provenance=Provenance(m.provenance.sources, image.provenance.steps))
        for m in numbers
    ]
    told += clean
    for segment in mask.segments:
        own = [m for m in clean if m.tracking == segment.tracking]
        mean = next(m.value for m in own if m.concept == codes.MEAN)
        kind = SOLID if mean >= SOLID_FROM else GLASS
        told.append(_label(image, kind, segment.tracking, f"Its mean density is {mean:.0f} HU"))
        when = BASELINE if course == "baseline" else Code("LESION_NEW", "99SOMASCOPE", "New lesion")
        told.append(_label(image, when, segment.tracking, "As was said of this examination"))
    asked = [f for f in told if isinstance(f, (Measurement, Label))]
    for table in tables:
        told += [
            replace(a, provenance=image.provenance, attributes=dict(image.attributes))
            for a in decide(table, asked)
        ]
    told += [
        _label(image, REJECTED, None, _where(image, found, k, c.why))
        for k, c in enumerate(judged) if c.why
    ]  # fmt: skip
    progress(1.0, f"{len(mask.segments)} nodules")
    return told


def _drawn(image: Image, nodules: list[Candidate]) -> Mask:
    """One segment for each, the largest first; where two claim a voxel the larger has it."""
    labels = np.zeros(image.grid.shape, np.uint16)
    order = sorted(nodules, key=lambda c: (-int(c.inside.sum()), [s.start for s in c.at]))
    segments: list[Segment] = []
    names = [s.name for s in image.provenance.sources] or ["unnamed"]
    for c in order:
        block = labels[c.at]
        fresh = c.inside & (block == 0)
        if fresh.sum() < 0.5 * c.inside.sum():
            continue  # found twice
        number = len(segments) + 1
        block[fresh] = number
        place = ",".join(str(s.start) for s in c.at)
        tracking = Tracking(uid.derive("nodule", *names, place), f"Nodule {number}")
        colour = COLOURS[(number - 1) % len(COLOURS)]
        segments.append(Segment(number, f"Nodule {number}", NODULE, _NAME, colour, 1.0, tracking))
    return mask_of(image, labels, tuple(segments))


def _label(image: Image, concept: Code, tracking: Tracking | None, text: str) -> Label:
    return Label(
        concept=concept, confidence=1.0, text=text, tracking=tracking,
        on=tuple(u for s in image.provenance.sources for u in s.uids),
        provenance=image.provenance, attributes=dict(image.attributes),
    )  # fmt: skip


def _where(image: Image, found: Blobs, k: int, why: str) -> str:
    l, p, s = image.grid.to_world(found.index[k])
    return f"Candidate of {found.diameter[k]:.1f} mm at L {l:.1f}, P {p:.1f}, S {s:.1f} mm: {why}"
