"""The demo's scans: a phantom is measured again, the raw data kept, an image made from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from somascope.core.acquisition import Acquisition
from somascope.core.image import Image
from somascope.core.registry import get_operation


@dataclass(frozen=True)
class Scan:
    """A phantom, the operation that measures it, and those that make the image."""

    name: str
    body: Callable[[], Image]
    measure: str
    settings: Mapping[str, Any]
    reconstruct: tuple[tuple[str, Mapping[str, Any]], ...] = field(default=())


def _chest() -> Image:
    from somascope import phantoms

    return phantoms.thorax_ct(phantoms.thorax_grid((4, 512, 512), (3.0, 0.75, 0.75)))


def _head() -> Image:
    from somascope import phantoms

    return phantoms.brain_mr("T1", phantoms.brain_grid((4, 256, 256), (5.0, 0.95, 0.95)))


def _body() -> Image:
    from somascope import phantoms

    return phantoms.thorax_ct()


def _pet() -> Image:
    from somascope import phantoms

    grid = phantoms.thorax_grid((12, 80, 80), (7.0, 5.0, 5.0))
    return phantoms.thorax_pet(grid, fwhm_mm=4.0, scale=50.0)


def _heart() -> Image:
    from somascope import phantoms

    return phantoms.chest_spect(phantoms.spect_grid((32, 64, 64), (6.0, 6.0, 6.0)))


def _thinking() -> Image:
    from somascope import phantoms

    return phantoms.brain_mr("T2", phantoms.brain_grid((40, 52, 44), (4.2, 4.0, 3.8)), noise=0)


def _tissue() -> Image:
    from somascope.phantoms.echogenicity import tissue_us

    return tissue_us(size=320)


SCANS = (
    Scan(
        "CT scan from raw data", _chest,
        "acquire.ct.simulate", {"views": 720, "photons": 2e5, "seed": 1},
        (("acquire.ct.fbp", {}),),
    ),
    Scan(
        "MR scan from raw data", _head,
        "acquire.mri.simulate", {"coils": 8, "acceleration": 2, "snr": 40.0, "seed": 1},
        (("acquire.mri.sense", {}),),
    ),
    Scan(
        "X-ray from raw data", _body,
        "acquire.xray.simulate", {"rows": 512, "columns": 512, "seed": 1},
        (("acquire.xray.radiograph", {}), ("acquire.xray.present", {})),
    ),
    Scan(
        "PET scan from raw data", _pet,
        "acquire.pet.simulate",
        {"scanner": "body", "duration": 60.0, "span": 3, "randoms": 0.2, "seed": 1},
        (("acquire.pet.osem", {"iterations": 3, "subsets": 8, "post_filter": 6.0}),),
    ),
    Scan(
        "SPECT scan from raw data", _heart,
        "acquire.spect.simulate", {"views": 60, "orbit": "body contour", "seed": 1},
        (("acquire.spect.osem", {"iterations": 4, "subsets": 10, "smooth": 8.0}),),
    ),
    Scan(
        "Ultrasound from channel data", _tissue,
        "acquire.ultrasound.simulate", {"transmits": 11, "span": 24.0, "seed": 1},
        (("acquire.ultrasound.bmode", {}),),
    ),
    Scan(
        "Functional MR run", _thinking,
        "acquire.fmri.simulate",
        {"scans": 50, "voxel": (5.0, 5.0, 5.0), "translation": 0.5, "rotation": 0.5, "seed": 1},
        (("acquire.fmri.activation", {"onsets": (20.0, 60.0), "durations": (20.0,),
                                      "conditions": (1, 2), "output": "z"}),),
    ),
)  # fmt: skip


def files(scan: Scan) -> list[bytes]:
    """Part 10 files: the raw data (or the run), then the image made from what was stored."""
    from somascope.io.dicom import raw
    from somascope.jobs.run import encode

    body = scan.body()
    titled = replace(body, attributes={**body.attributes, "SeriesDescription": scan.name})
    measured = get_operation(scan.measure)(titled, **scan.settings)
    assert isinstance(measured, (Acquisition, Image))
    parts = encode(measured)
    result: Any = raw.read(parts[0]) if isinstance(measured, Acquisition) else measured
    for name, settings in scan.reconstruct:
        result = get_operation(name)(result, **settings)
    made = result if isinstance(result, list) else [result]
    return parts + [part for one in made for part in encode(one)]
