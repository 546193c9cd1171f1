"""`analyze.radiomics`: the features of every segment as findings."""

from __future__ import annotations

from typing import Annotated

from somascope.analyze.measure.regions import Chosen, Separate, findings, on_one_grid, regions
from somascope.analyze.radiomics.extract import features
from somascope.analyze.radiomics.levels import MOST
from somascope.analyze.radiomics.matrices import Dimensions
from somascope.analyze.radiomics.names import CODES, FAMILIES, concept, unit_of
from somascope.analyze.radiomics.resampled import Interpolation, resampled
from somascope.analyze.radiomics.texture import Directions
from somascope.core import QUIET, Image, Mask, Measurement, Param, Progress, operation
from somascope.core.errors import ParameterError
from somascope.process.choices import one_volume

WIDTHS = {"[hnsf'U]": 25.0, "g/ml": 0.25}
"""Of bins, for units that mean the same on every scanner."""

COUNT = 32
"""Of bins, for values that do not."""

_NAME = "analyze.radiomics"


@operation(_NAME)
def radiomics(
    image: Image,
    mask: Mask,
    *,
    families: Annotated[
        str, Param(f"Which, with commas between: {', '.join(FAMILIES)}; empty: all")
    ] = "",
    segment: Chosen = 0,
    separate: Separate = False,
    bin_width: Annotated[
        float | None,
        Param("Width of a grey level in the image's unit; none, and no number: 25 HU, 0.25 g/ml, "
              f"else {COUNT} levels", minimum=1e-9),
    ] = None,
    bin_count: Annotated[
        int | None,
        Param("Number of grey levels from the region's smallest to its largest value", minimum=2,
              maximum=MOST),
    ] = None,
    spacing: Annotated[
        float | None,
        Param("Edge of the voxels the region is resampled to; none: as they are", unit="mm",
              minimum=0.05, maximum=100.0),
    ] = None,
    interpolation: Annotated[Interpolation, Param("Of the values, with a spacing")] = "linear",
    lower: Annotated[
        float | None, Param("Smaller values are left out of intensity and texture")
    ] = None,
    upper: Annotated[
        float | None, Param("Larger values are left out of intensity and texture")
    ] = None,
    dimensions: Annotated[
        Dimensions,
        Param("Texture over the volume; within slices, counted together; or slice by slice"),
    ] = "3D",
    directions: Annotated[
        Directions, Param("Features of each direction averaged, or of their counts together")
    ] = "averaged",
    dependence: Annotated[
        float, Param("Difference of levels up to which neighbours depend on each other (GLDM)",
                     minimum=0.0, maximum=1000.0, advanced=True)
    ] = 0.0,
    progress: Progress = QUIET,
) -> list[Measurement]:  # fmt: skip
    """Measure shape, intensity and texture of every segment by IBSI's definitions.

    The mask lies on the image's grid; the image has one volume. Names are pyradiomics', codes
    IBSI's, units those of the image; the tracking identifier is the segment's. Missing values are
    left out. A mask of a single slice has shape features in two dimensions.

    Raises
    ------
    GeometryError
        The mask lies on another grid, or the image has several volumes.
    ParameterError
        Nothing is left to measure, or there are more levels than a texture can have.
    """
    wanted = _families(families)
    if bin_width is not None and bin_count is not None:
        raise ParameterError(
            f"{_NAME}: bin_width is {bin_width:g} and bin_count {bin_count}; give one of them"
        )
    if lower is not None and upper is not None and lower > upper:
        raise ParameterError(f"{_NAME}: lower {lower:g} is above upper {upper:g}")
    volume = one_volume(image, _NAME)
    on_one_grid(image, mask)
    if bin_width is None and bin_count is None:
        bin_width = WIDTHS.get(image.unit)
        bin_count = None if bin_width else COUNT
    listed = regions(mask, segment=segment, separate=separate)
    found: list[Measurement] = []
    for region in progress.over(listed, "segments"):
        values, inside, grid = region.box(volume), region.inside, region.grid
        if spacing is not None:
            values, inside, grid = resampled(
                image, region, spacing, flat=dimensions != "3D", order=interpolation
            )
        made = features(
            values, inside, grid, families=wanted, bin_width=bin_width, bin_count=bin_count,
            lower=lower, upper=upper, dimensions=dimensions, directions=directions,
            dependence=dependence,
        )  # fmt: skip
        rows = [
            (concept(family, name), made[family][name], unit_of(family, name, image.unit))
            for family in made
            for name in CODES[family]
            if name in made[family]
        ]
        found += findings(image, region.segment, rows)
    return found


def _families(text: str) -> list[str]:
    wanted = [w.strip().lower() for w in text.split(",") if w.strip()]
    unknown = [w for w in wanted if w not in FAMILIES]
    if unknown:
        raise ParameterError(
            f"{_NAME}: there is no family {unknown[0]!r}; choose from {', '.join(FAMILIES)}"
        )
    return [f for f in FAMILIES if f in wanted] or list(FAMILIES)
