"""Fewer virtual coils that hold nearly all of the signal: SVD, and per readout position.

k-space is ``(coils, nz, ny, nx)`` with the readout last.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

import numpy as np

from somascope.acquire.mri.cartesian import CartesianScan
from somascope.acquire.mri.fourier import centre, to_image, to_kspace
from somascope.acquire.mri.samples import cartesian, mixed
from somascope.core import Acquisition, Param, operation
from somascope.core.errors import ParameterError
from somascope.core.grid import Array


def svd_matrix(kspace: Array, coils: int) -> Array:
    """``(coils, all)`` with orthonormal rows: the main directions of the samples (Buehrer 2007)."""
    samples = np.asarray(kspace).reshape(len(kspace), -1)
    check_count(coils, len(samples))
    gram = samples @ samples.conj().T
    _, vectors = np.linalg.eigh(gram.astype(np.complex128))
    return vectors[:, ::-1][:, :coils].conj().T.astype(np.complex64)


def geometric_matrices(calibration: Array, coils: int, *, window: int = 5) -> Array:
    """One matrix per readout position, turned so that they change smoothly (Zhang et al. 2013).

    Parameters
    ----------
    calibration
        k-space whose readout is complete, ``(coils, nz, ny, nx)``.
    coils
        Virtual coils to keep.
    window
        Readout positions that share a decomposition, odd.

    Returns
    -------
    array
        Complex64 ``(nx, coils, all)`` with orthonormal rows.
    """
    check_count(coils, len(calibration))
    hybrid = to_image(np.asarray(calibration), axes=(-1,))
    all_coils, nx = len(hybrid), hybrid.shape[-1]
    lines = hybrid.reshape(all_coils, -1, nx).transpose(2, 0, 1)
    gram = (lines @ lines.conj().transpose(0, 2, 1)).astype(np.complex128)
    half = window // 2
    padded = np.concatenate([gram[:1]] * half + [gram] + [gram[-1:]] * half)
    gram = np.add.reduce([padded[i : i + nx] for i in range(2 * half + 1)])
    _, vectors = np.linalg.eigh(gram)
    found = vectors[:, :, ::-1][:, :, :coils].conj().transpose(0, 2, 1)
    # Align from the middle outwards: the rotation nearest to the neighbour's matrix.
    middle = nx // 2
    for order in (range(middle + 1, nx), range(middle - 1, -1, -1)):
        step = 1 if order.step > 0 else -1
        for x in order:
            cross = found[x - step] @ found[x].conj().T
            left, _, right = np.linalg.svd(cross)
            found[x] = left @ right @ found[x]
    return found.astype(np.complex64)


def apply_matrices(matrices: Array, kspace: Array) -> Array:
    """One matrix per readout position on k-space ``(..., coils, nz, ny, nx)``."""
    hybrid = to_image(np.asarray(kspace), axes=(-1,))
    out = np.einsum("xvc,...czyx->...vzyx", matrices, hybrid, optimize=True)
    return to_kspace(out, axes=(-1,)).astype(np.complex64)


def check_count(coils: int, there: int) -> None:
    """Refuse more virtual coils than there are coils."""
    if not 1 <= coils <= there:
        raise ParameterError(f"{coils} virtual coils are asked for and {there} were measured")


@operation("acquire.mri.compress")
def compress(
    acquisition: Acquisition,
    *,
    coils: Annotated[int, Param("Virtual coils to keep", minimum=1, maximum=128)] = 8,
    method: Annotated[
        Literal["svd", "geometric"],
        Param("One decomposition, or one for each position along the readout"),
    ] = "svd",
) -> Acquisition:
    """Replace many coils by fewer virtual ones that hold most of the signal.

    ``geometric`` (Zhang et al. 2013) needs fewer coils for the same loss on a Cartesian scan with
    complete readouts; its noise scan is dropped, so prewhiten before.
    """
    scan = acquisition.operator
    if method == "svd" or not isinstance(scan, CartesianScan):
        samples = np.moveaxis(acquisition.samples, len(getattr(scan, "axes", ())), 0)
        return mixed(acquisition, svd_matrix(samples, coils), "acquire.mri.compress")
    samples, scan = cartesian(acquisition, "acquire.mri.compress")
    if scan.mask is not None and (scan.mask.any(axis=-1) != scan.mask.all(axis=-1)).any():
        raise ParameterError(
            "geometric compression needs complete readouts and some samples of them are missing; "
            "use method svd"
        )
    together = np.moveaxis(samples, -4, 0).reshape(scan.coils, -1, 1, scan.matrix[2])
    matrices = geometric_matrices(together, coils)
    inside = matrices[centre((scan.matrix[2],), (scan.grid.shape[2],))[0]]
    kept = {k: v for k, v in acquisition.calibration.items() if k != "noise"}
    for key in ("navigator", "reference"):
        if key in kept:
            kept[key] = apply_matrices(matrices, kept[key])
    maps = scan.sensitivities
    if "sensitivities" in kept:
        kept["sensitivities"] = _maps(inside, kept["sensitivities"])
    return replace(
        acquisition,
        samples=scan.sampled(apply_matrices(matrices, samples)),
        operator=CartesianScan(
            **{
                **scan.describe(),
                "coils": coils,
                "sensitivities": None if maps is None else _maps(inside, maps),
            }
        ),
        calibration=kept,
    )


def _maps(matrices: Array, maps: Array) -> Array:
    return np.einsum("xvc,czyx->vzyx", matrices, maps, optimize=True).astype(np.complex64)
