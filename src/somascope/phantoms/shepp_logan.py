"""The head phantom of Shepp and Logan, in two and three dimensions."""

from __future__ import annotations

from typing import Literal

from somascope.core.grid import Grid
from somascope.core.image import Image
from somascope.phantoms.ellipsoid import Ellipsoid, draw
from somascope.phantoms.patient import facts, source

_HALF_FIELD = 110.0
"""The unit square's half side in mm, so that the head is 184 mm wide."""

# Shepp and Logan 1974, table 1: centre, half axes, turn; third axis of Kak and Slaney 1988, 3.1.
_ELLIPSES = (
    ((0.0, 0.0, 0.0), (0.69, 0.92, 0.90), 0.0),
    ((0.0, -0.0184, 0.0), (0.6624, 0.874, 0.88), 0.0),
    ((0.22, 0.0, 0.0), (0.11, 0.31, 0.22), -18.0),
    ((-0.22, 0.0, 0.0), (0.16, 0.41, 0.28), 18.0),
    ((0.0, 0.35, -0.15), (0.21, 0.25, 0.41), 0.0),
    ((0.0, 0.1, 0.25), (0.046, 0.046, 0.05), 0.0),
    ((0.0, -0.1, 0.25), (0.046, 0.046, 0.05), 0.0),
    ((-0.08, -0.605, 0.0), (0.046, 0.023, 0.05), 0.0),
    ((0.0, -0.606, 0.0), (0.023, 0.023, 0.02), 0.0),
    ((0.06, -0.605, 0.0), (0.023, 0.046, 0.02), 0.0),
)
_ORIGINAL = (2.0, -0.98, -0.02, -0.02, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01)
# Toft 1996, B.3: the same head with contrast that can be seen.
_MODIFIED = (1.0, -0.8, -0.2, -0.2, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1)


def shepp_logan_shapes(
    contrast: Literal["modified", "original"] = "modified", *, flat: bool = False
) -> list[Ellipsoid]:
    """The ten ellipsoids, summed, in mm; the paper's x is to the patient's left, y to the front.

    ``flat`` puts all centres on the plane S = 0 with half axes of at least its own in S, so that
    the cut at S = 0 is exactly the two-dimensional phantom.
    """
    values = _MODIFIED if contrast == "modified" else _ORIGINAL
    r = _HALF_FIELD
    return [
        Ellipsoid(
            value=value,
            centre=(x * r, -y * r, 0.0 if flat else z * r),
            radii=(a * r, b * r, c * r),
            angles=(-turn, 0.0),
        )
        for value, ((x, y, z), (a, b, c), turn) in zip(values, _ELLIPSES, strict=True)
    ]


def shepp_logan(
    shape: tuple[int, ...] = (256, 256),
    *,
    contrast: Literal["modified", "original"] = "modified",
) -> Image:
    """The phantom on a field of 220 mm: ``(ny, nx)`` for one plane, ``(nz, ny, nx)`` for a volume.

    Values are relative attenuation, float32.
    """
    flat = len(shape) == 2
    sizes = (1, *shape) if flat else tuple(shape)
    dz, dy, dx = (2 * _HALF_FIELD / n for n in sizes)
    spacing = (1.0 if flat else dz, dy, dx)
    origin = [-(n - 1) / 2 * d for n, d in zip(sizes[::-1], spacing[::-1], strict=True)]
    grid = Grid.from_spacing(sizes, spacing, origin=origin)
    data = draw(shepp_logan_shapes(contrast, flat=flat), grid, summed=True)
    return Image(
        data=data,
        grid=grid,
        modality="CT",
        provenance=source("shepp_logan"),
        attributes=facts("shepp_logan", "Phantom^Shepp-Logan", "Shepp-Logan head"),
    )
