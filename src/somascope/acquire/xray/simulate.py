"""`acquire.xray.simulate`: a CT volume is radiographed again (DRR), with physics and faults."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np

from somascope.acquire.xray.facts import examination, geometry
from somascope.acquire.xray.views import (
    patient_orientation,
    radiograph_views,
    tomosynthesis_views,
)
from somascope.core import QUIET, Acquisition, Image, Param, Progress, operation
from somascope.core.errors import ParameterError, UnitError

HOUNSFIELD = "[hnsf'U]"


@operation("acquire.xray.simulate")
def simulate(
    image: Image,
    *,
    view: Annotated[Literal["PA", "AP", "LL", "RL", "LLO", "RLO"], Param("View position")] = "PA",
    rows: Annotated[int, Param("Detector rows", minimum=8, maximum=4096)] = 512,
    columns: Annotated[int, Param("Detector columns", minimum=8, maximum=4096)] = 512,
    pitch: Annotated[
        float, Param("Edge of a detector pixel", unit="mm", minimum=0.02, maximum=10.0)
    ] = 0.85,
    source_to_detector: Annotated[
        float, Param("Focal spot to detector", unit="mm", minimum=100.0, maximum=5000.0)
    ] = 1800.0,
    source_to_centre: Annotated[
        float, Param("Focal spot to the volume's centre", unit="mm", minimum=50.0, maximum=5000.0)
    ] = 1600.0,
    kvp: Annotated[float, Param("Tube voltage", unit="kV", minimum=40.0, maximum=150.0)] = 120.0,
    mas: Annotated[
        float, Param("Tube current and time", unit="mA.s", minimum=1e-4, maximum=1000.0)
    ] = 2.0,
    aluminium: Annotated[
        float, Param("Filter", unit="mm", minimum=0.5, maximum=50.0, advanced=True)
    ] = 2.5,
    copper: Annotated[
        float, Param("Filter", unit="mm", minimum=0.0, maximum=5.0, advanced=True)
    ] = 0.1,
    exposures: Annotated[
        int, Param("1: a radiograph; more: a tomosynthesis sweep (AP)", minimum=1, maximum=200)
    ] = 1,
    sweep: Annotated[
        float, Param("Angle of the sweep", unit="deg", minimum=1.0, maximum=110.0, advanced=True)
    ] = 40.0,
    scatter: Annotated[
        float, Param("Scatter to primary per unit of line integral", minimum=0.0, maximum=5.0)
    ] = 0.0,
    grid_lines: Annotated[
        float, Param("Lines of a stationary grid", unit="/mm", minimum=0.0, maximum=20.0)
    ] = 0.0,
    grid_contrast: Annotated[
        float, Param("Amplitude of the grid's lines", minimum=0.0, maximum=0.5, advanced=True)
    ] = 0.05,
    blades: Annotated[
        tuple[float, float, float, float],
        Param(
            "How far the collimator covers the top, bottom, left and right",
            unit="mm",
            minimum=0.0,
            maximum=2000.0,
        ),
    ] = (0.0, 0.0, 0.0, 0.0),
    blur: Annotated[
        float, Param("Width of the light spread", unit="mm", minimum=0.0, maximum=5.0)
    ] = 0.25,
    electronic_noise: Annotated[
        float, Param("Noise of the read-out in counts", minimum=0.0, maximum=1000.0, advanced=True)
    ] = 4.0,
    gain_variation: Annotated[
        float, Param("Spread of the pixels' gain", minimum=0.0, maximum=0.3, advanced=True)
    ] = 0.03,
    defects: Annotated[
        float, Param("Share of dead pixels", minimum=0.0, maximum=0.05, advanced=True)
    ] = 3e-4,
    lag: Annotated[
        float, Param("Share of the signal in later images", minimum=0.0, maximum=0.5, advanced=True)
    ] = 0.0,
    noise: Annotated[bool, Param("Quantum and electronic noise")] = True,
    seed: Annotated[int, Param("Of noise and panel", minimum=0, maximum=2**31 - 1)] = 0,
    progress: Progress = QUIET,
) -> Acquisition:
    """Radiograph a CT volume: polychromatic DRR in detector counts, with noise and faults.

    The volume, in Hounsfield units, becomes densities of water and bone; a tungsten spectrum goes
    through them to a caesium iodide panel (`expose`). The result's samples are raw counts
    ``(exposures, rows, columns)``, uint16, its operator an `xray.projection`, its calibration
    ``flat``, ``dark``, ``defects``, ``flat_exposure`` (mAs) and ``lag``.

    Raises
    ------
    UnitError
        The image is not in Hounsfield units.
    ParameterError
        Not one volume, NaN, or distances in the wrong order.
    """
    from somascope.acquire.xray.detector import Detector
    from somascope.acquire.xray.expose import AntiScatterGrid, Beam, Collimator, expose
    from somascope.acquire.xray.scattering import Scatter

    _hounsfield(image)
    shape = (rows, columns)
    if exposures > 1:
        projection = tomosynthesis_views(
            image.grid, count=exposures, sweep=sweep, shape=shape, pitch=pitch,
            source_to_detector=source_to_detector, source_to_centre=source_to_centre,
        )  # fmt: skip
        view = "AP"
    else:
        projection = radiograph_views(
            image.grid, [view], shape=shape, pitch=pitch, source_to_detector=source_to_detector,
            source_to_centre=source_to_centre,
        )  # fmt: skip
    detector = Detector(
        blur=blur, electronic_noise=electronic_noise, gain_variation=gain_variation,
        defects=defects, defect_lines=int(defects > 0), lag=(lag, 3.0),
    )  # fmt: skip
    beam = Beam(kvp=kvp, mas=mas / exposures, aluminium=aluminium, copper=copper)
    exposed = expose(
        image.data, projection, beam=beam, detector=detector,
        scatter=Scatter(scatter) if scatter else None,
        grid=AntiScatterGrid(grid_lines, grid_contrast if grid_lines else 0.0),
        collimator=Collimator(blades) if any(blades) else None,
        noise=noise, seed=seed, progress=progress,
    )  # fmt: skip
    progress(1.0, "exposed")
    return Acquisition(
        samples=exposed.counts,
        operator=projection,
        modality="DX",
        unit="{counts}",
        calibration=exposed.calibration,
        provenance=image.provenance,
        attributes={
            **examination(image.attributes),
            **geometry(projection, projection.range[0] // 2, position=view),
            **_technique(beam, detector),
            "PatientOrientation": patient_orientation(view),
            "SeriesDescription": _title(image, view, exposures),
            **({"Grid": ["FIXED", "PARALLEL"]} if grid_lines else {}),
        },
    )


def _hounsfield(image: Image) -> None:
    if image.unit != HOUNSFIELD:
        raise UnitError(
            f"acquire.xray.simulate needs Hounsfield units and this image is in {image.unit!r}; "
            "give a CT"
        )
    if image.axes:
        raise ParameterError(
            f"acquire.xray.simulate takes one volume and this image has the axes "
            f"{[a.name for a in image.axes]}; choose one entry with image.at(...)"
        )
    if image.data.dtype.kind == "f" and not np.isfinite(image.data).all():
        raise ParameterError(
            "acquire.xray.simulate: the volume holds NaN or infinite values; fill them with -1000 "
            "(air) first"
        )


def _title(image: Image, view: str, exposures: int) -> str:
    part = str(image.attributes.get("BodyPartExamined") or "Radiograph").capitalize()
    return f"{part} {view}" + (f" tomosynthesis, {exposures} exposures" if exposures > 1 else "")


def _technique(beam: Any, detector: Any) -> dict[str, Any]:
    return {
        "KVP": beam.kvp,
        "ExposureInuAs": round(beam.mas * 1000),
        "AnodeTargetMaterial": "TUNGSTEN",
        "FilterMaterial": ["ALUMINUM", "COPPER"] if beam.copper else "ALUMINUM",
        "FilterThicknessMaximum": [beam.aluminium, beam.copper] if beam.copper else beam.aluminium,
        "DetectorType": "SCINTILLATOR",
        "Sensitivity": detector.sensitivity,
    }
