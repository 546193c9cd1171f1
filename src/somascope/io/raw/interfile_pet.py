"""PET sinograms of Interfile as acquisitions: STIR's order of segments, planes, views and bins."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from somascope.core.acquisition import Acquisition
from somascope.core.errors import CorruptFile, UnsupportedFormat
from somascope.core.grid import Array, Grid
from somascope.core.provenance import Provenance
from somascope.core.registry import build_operator

Header = Mapping[str, str]


def acquisition(
    keys: Header,
    values_of: Callable[[Header, Path, tuple[int, ...]], Array],
    path: Path,
    provenance: Provenance,
) -> Acquisition:
    """A sinogram with its scan, unit ``{counts}``, in the order of `SinogramScan`.

    STIR counts rings out along the bed, towards the feet, ours towards the head: ring numbers and
    ring differences change their sign. Both name the crystals of a bin alike.
    """
    from somascope.io.raw.interfile import facts, position

    if position(keys) != "hfs":
        raise UnsupportedFormat(
            f"{path.name}: patient position {position(keys).upper()}; sinograms of patients head "
            "first and supine are read"
        )
    corrections = keys.get("applied corrections", "").lower()
    if "arc" in corrections and "not arc" not in corrections:
        raise UnsupportedFormat(
            f"{path.name} is arc corrected: its bins are no crystal pairs; give data without"
        )
    labels = {keys.get(f"matrix axis label[{k}]", "").lower(): k for k in range(1, 6)}
    if "timing positions" in labels and int(keys[f"matrix size[{labels['timing positions']}]"]) > 1:
        raise UnsupportedFormat(f"{path.name} resolves time of flight; add up its timing positions")
    order = [name for name, k in sorted(labels.items(), key=lambda i: -i[1]) if name]
    order = [name for name in order if name != "timing positions"]
    if set(order) != {"segment", "axial coordinate", "view", "tangential coordinate"}:
        raise CorruptFile(f"{path.name}: axes are {order}; segment, axial, view and tangential")

    views = int(keys[f"matrix size[{labels['view']}]"])
    bins = int(keys[f"matrix size[{labels['tangential coordinate']}]"])
    planes = numbers(keys[f"matrix size[{labels['axial coordinate']}]"])
    low = numbers(keys["minimum ring difference per segment"])
    high = numbers(keys["maximum ring difference per segment"])
    if not len(planes) == len(low) == len(high) or min(planes, default=0) < 1:
        raise CorruptFile(f"{path.name}: {len(planes)} segments, ring differences of {len(low)}")
    scanner = scanner_of(keys, bins, path)
    half = scanner["crystals"] // 2
    if views < 1 or half % views:
        raise UnsupportedFormat(f"{path.name}: {views} views of {half} angles of the scanner")
    span = max(b - a for a, b in zip(low, high, strict=True)) + 1
    most = max(*(abs(v) for v in (*low, *high)), 0)
    scan: Any = build_operator(
        "pet.sinogram",
        {"grid": grid_of(scanner, bins, keys), "scanner": scanner, "span": span,
         "max_ring_difference": most, "radial_bins": bins, "mashing": half // views},
    )  # fmt: skip
    samples = sorted_planes(
        scan, low, high, planes, _read(keys, values_of, path, planes, views, bins, order), path
    )
    return Acquisition(
        samples, scan, "PT", unit="{counts}", provenance=provenance, attributes=facts(keys)
    )


def _read(
    keys: Header, values_of: Any, path: Path, planes: list[int], views: int, bins: int,
    order: list[str],
) -> list[Array]:  # fmt: skip
    """Per segment ``(axial, view, tangential)``."""
    if order[0] != "segment" or order[-1] != "tangential coordinate":
        raise UnsupportedFormat(f"{path.name}: axes in the order {order}")
    flat = values_of(keys, path, (sum(planes) * views * bins,))
    parts: list[Array] = []
    start = 0
    for count in planes:
        part = flat[start : start + count * views * bins]
        start += part.size
        if order[1] == "view":
            parts.append(part.reshape(views, count, bins).swapaxes(0, 1))
        else:
            parts.append(part.reshape(count, views, bins))
    return parts


def sorted_planes(
    scan: Any, low: list[int], high: list[int], planes: list[int], parts: list[Array], path: Path
) -> Array:
    """The segments of a file in the order of the scan."""
    out = np.zeros(scan.range, np.float32)
    seen = np.zeros(len(out), bool)
    for a, b, count, part in zip(low, high, planes, parts, strict=True):
        segment = -int(np.sign(a + b)) * ((abs(a + b) // 2 + scan.michelogram.span // 2)
                                          // scan.michelogram.span)  # fmt: skip
        own = scan.michelogram.planes_of(segment)
        if len(own) != count:
            raise UnsupportedFormat(
                f"{path.name}: segment of ring differences {a} to {b} has {count} planes; all "
                f"{len(own)} are needed"
            )
        out[own] = part[::-1]
        seen[own] = True
    if not seen.all():
        raise UnsupportedFormat(f"{path.name}: {int((~seen).sum())} planes are missing")
    return out


def numbers(text: str) -> list[int]:
    """``{ 1,2,3}`` or ``1``."""
    return [int(v) for v in text.strip("{} \t").replace(" ", "").split(",") if v]


def scanner_of(keys: Header, bins: int, path: Path) -> dict[str, Any]:
    """The description of the scanner, of the header's own keys."""
    name = keys.get("scanner type", keys.get("originating system", "unknown"))

    def value(key: str) -> float:
        return float(keys.get(key) or 0)

    rings, crystals = int(value("number of rings")), int(value("number of detectors per ring"))
    radius = 5 * value("inner ring diameter (cm)")
    spacing = 10 * value("distance between rings (cm)")
    if min(rings, crystals) < 1 or radius <= 0 or spacing <= 0:
        raise UnsupportedFormat(
            f"{path.name}: the header does not describe the scanner {name!r}; add its rings, "
            "detectors per ring, inner ring diameter and distance between rings"
        )
    offset = float(keys.get("view offset (degrees)") or 0)
    if abs(offset) > 1e-3:
        raise UnsupportedFormat(f"{path.name}: a view offset of {offset:g} degrees; 0 is read")
    return {
        "name": name, "rings": rings, "crystals": crystals, "radius": radius,
        "ring_spacing": spacing, "depth": 10 * value("average depth of interaction (cm)"),
        "block": [
            int(float(keys.get(f"number of crystals per block in {way} direction") or 1))
            for way in ("axial", "transaxial")
        ],
        "radial_bins": bins,
    }  # fmt: skip


def grid_of(scanner: dict[str, Any], bins: int, keys: Header) -> Grid:
    """Pixels of the default bin size that cover the bins; slices half a ring apart."""
    own = float(keys.get("default bin size (cm)") or 0) * 10
    radius = scanner["radius"] + scanner["depth"]
    pixel = own if own > 0 else np.pi * radius / scanner["crystals"]
    nz, dz = 2 * scanner["rings"] - 1, scanner["ring_spacing"] / 2
    n = bins | 1
    origin = (-(n - 1) / 2 * pixel, -(n - 1) / 2 * pixel, -(nz - 1) / 2 * dz)
    return Grid.from_spacing((nz, n, n), (dz, pixel, pixel), origin=origin)
