"""`acquire.xray.dual_energy`: soft tissue and bone apart, from two tube voltages."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

import numpy as np

from somascope.acquire.matter import mass_attenuation
from somascope.acquire.tube import Spectrum, tungsten
from somascope.acquire.xray.detector import Detector
from somascope.acquire.xray.facts import one_plane
from somascope.acquire.xray.present import densities
from somascope.acquire.xray.radiograph import as_image
from somascope.core import Acquisition, Image, Param, operation
from somascope.core.errors import GeometryError, ParameterError
from somascope.core.grid import Array, Float

_DICOM = {"ALUMINUM": "aluminium", "COPPER": "copper"}


@operation("acquire.xray.dual_energy")
def dual_energy(
    low: Image | Acquisition,
    high: Image | Acquisition,
    *,
    smoothing: Annotated[
        float,
        Param(
            "Noise reduction of the bone image before it is used",
            unit="mm",
            minimum=0.0,
            maximum=20.0,
        ),
    ] = 0.0,
) -> list[Image]:
    """Decompose two radiographs at different tube voltages into soft tissue and bone.

    For every pixel the areal densities of water and cortical bone whose polychromatic attenuation
    gives both line integrals (Alvarez and Macovski 1976, solved by Newton's method with the
    spectra of the two exposures). Both images must lie on the same detector; tube voltage and
    filters come from their attributes (`KVP`, `FilterMaterial`, `FilterThicknessMaximum`).

    Returns
    -------
    list of Image
        Soft tissue and bone, in g/cm2, float32, ``(1, rows, columns)``.

    Raises
    ------
    GeometryError
        Images of different size or place.
    ParameterError
        Tube voltages unknown, equal, or in the wrong order.
    """  # fmt: skip
    images = [as_image(i) if isinstance(i, Acquisition) else i for i in (low, high)]
    for one in images:
        one_plane(one, "acquire.xray.dual_energy")
    first, second = images
    if first.data.shape != second.data.shape or not first.grid.allclose(second.grid):
        raise GeometryError(
            f"the two radiographs are {first.grid!r} and {second.grid!r}; dual energy needs the "
            "same detector and place (register or crop them first)"
        )
    beams = [beam_of(i) for i in images]
    if not beams[0].mean_energy < beams[1].mean_energy - 1.0:
        raise ParameterError(
            f"the mean energies are {beams[0].mean_energy:.1f} and {beams[1].mean_energy:.1f} keV; "
            "give the image of the lower tube voltage first, and two that differ"
        )
    water, bone = decomposed(*(densities(i) for i in images), beams=(beams[0], beams[1]))
    if smoothing > 0:
        water, bone = _calmed(water, bone, densities(second), smoothing, first, beams[1])
    results = []
    for name, values in (("soft tissue", water), ("bone", bone)):
        title = f"{first.attributes.get('SeriesDescription', 'Radiograph')} {name}"
        plane = first.with_data(values[None].astype(np.float32), unit="g/cm2")
        attributes = {**first.attributes, "SeriesDescription": title}
        results.append(replace(plane, attributes=attributes))
    return results


def beam_of(image: Image) -> Spectrum:
    """The spectrum as the detector weighs it, from an image's attributes."""
    facts = image.attributes
    try:
        kvp = float(facts["KVP"])
        filters = [
            (_DICOM[m], float(t))
            for m, t in zip(
                _listed(facts.get("FilterMaterial", "ALUMINUM")),
                _listed(facts.get("FilterThicknessMaximum", 2.5)),
                strict=True,
            )
        ]
    except (KeyError, TypeError, ValueError):
        raise ParameterError(
            "tube voltage or filters are not known (KVP, FilterMaterial of ALUMINUM or COPPER, "
            f"FilterThicknessMaximum): {[facts.get(k) for k in ('KVP', 'FilterMaterial')]}"
        ) from None
    beam = tungsten(kvp, filters=filters)
    weight = Detector().weights(beam)[0]
    return Spectrum(beam.energies, weight / weight.sum())


def decomposed(
    low: Array, high: Array, *, beams: tuple[Spectrum, Spectrum], iterations: int = 6
) -> tuple[Float, Float]:
    """Areal densities of water and bone in g/cm2 from two line integrals; they may be negative.

    Newton's method on a table: the forward model and its derivatives are tabulated over a mesh of
    both densities, the pixels interpolate in it.
    """
    from scipy.interpolate import RectBivariateSpline

    # Denser near nothing, where the softest photons bend the curves most.
    a, b = (t * np.abs(t) for t in (np.linspace(-2.5, 7.75, 124), np.linspace(-2.0, 4.0, 73)))
    models = [RectBivariateSpline(a, b, line_integral(s, a[:, None], b[None, :])) for s in beams]
    measured = [np.asarray(m, np.float64).reshape(-1) for m in (low, high)]
    water = np.clip(measured[1] / 0.19, a[0], a[-1])
    bone = np.zeros_like(water)
    for _ in range(iterations):
        values = [m.ev(water, bone) - g for m, g in zip(models, measured, strict=True)]
        (p, q), (r, s) = ((m.ev(water, bone, dx=1), m.ev(water, bone, dy=1)) for m in models)
        determinant = p * s - q * r
        water = np.clip(water - (s * values[0] - q * values[1]) / determinant, a[0], a[-1])
        bone = np.clip(bone - (p * values[1] - r * values[0]) / determinant, b[0], b[-1])
    return water.reshape(low.shape), bone.reshape(low.shape)


def line_integral(beam: Spectrum, water: Any, bone: Any) -> Float:
    """``-ln`` of the transmitted signal behind areal densities in g/cm2 (they broadcast)."""
    mu_water, mu_bone = (mass_attenuation(m, beam.energies) for m in ("water", "bone"))
    exponent = np.asarray(water)[..., None] * mu_water + np.asarray(bone)[..., None] * mu_bone
    least = exponent.min(axis=-1, keepdims=True)
    total = np.exp(least - exponent) @ (beam.fluence / beam.fluence.sum())
    return least[..., 0] - np.log(total)


def _calmed(
    water: Float, bone: Float, high: Array, smoothing: float, image: Image, beam: Spectrum
) -> tuple[Float, Float]:
    """Bone smoothed, water such that the high-energy image is still met exactly."""
    from scipy.ndimage import gaussian_filter

    _, dy, dx = image.grid.spacing
    calm = gaussian_filter(bone, (smoothing / dy, smoothing / dx))
    for _ in range(4):
        step = 0.05
        value = line_integral(beam, water, calm)
        slope = (line_integral(beam, water + step, calm) - value) / step
        water = water + (high - value) / slope
    return water, calm


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]
