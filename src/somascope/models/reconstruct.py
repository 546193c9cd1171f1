"""From k-space to an image by a trained, unrolled network; without PyTorch.

The graph holds the solver's iterations and the network between them. It is given the back
projection, the coils' sensitivities, and one matrix that says which phase encodings were measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from somascope.acquire.mri import fourier
from somascope.acquire.mri.cartesian import CartesianScan
from somascope.acquire.mri.results import Part, image_of
from somascope.acquire.mri.samples import line_mask
from somascope.acquire.mri.sense import Maps, with_maps
from somascope.core import QUIET, Acquisition, Image, Param, Progress, operation
from somascope.core.errors import ParameterError, Refused
from somascope.core.grid import Array
from somascope.models.operations import opened


@dataclass(frozen=True)
class Slices:
    """What a graph to reconstruct is given, slice by slice.

    Parameters
    ----------
    back
        ``A^H y`` over ``scale``, complex64 ``(n, y, x)``.
    maps
        Complex64 ``(n, coils, y, x)``.
    kept
        Complex64 ``(y, y)``: transform along y, keep what was measured, transform back.
    scale
        What the samples were divided by: the network learned on images of about unit size.
    """

    back: Array
    maps: Array
    kept: Array
    scale: float

    def given(self, i: int) -> dict[str, Array]:
        """The graph's inputs of one slice, complex numbers as pairs."""
        return {
            "back": pairs(self.back[i : i + 1]), "maps": pairs(self.maps[i : i + 1]),
            "kept": pairs(self.kept[None]),
        }  # fmt: skip


def pairs(values: Array) -> Array:
    """Complex ``(n, ...)`` to float32 ``(n, 2, ...)``."""
    return np.ascontiguousarray(np.stack([np.real(values), np.imag(values)], axis=1), np.float32)


def slices(acquisition: Acquisition, name: str, *, maps: str = "auto") -> Slices:
    """An acquisition as `Slices`, the leading axes and z in one.

    Raises
    ------
    ParameterError
        Not a Cartesian k-space whose slices are encoded one by one, with whole readouts and the
        same phase encodings in each.
    """
    scan = with_maps(acquisition, name, maps=maps)
    if not isinstance(scan, CartesianScan):
        raise ParameterError(
            f"{name} reads a Cartesian k-space; use acquire.mri.sense, which takes trajectories"
        )
    if scan.dimensions == 3:
        raise ParameterError(
            f"{name} reads slices that are encoded one by one and this scan encodes z too; use "
            "acquire.mri.sense"
        )
    mask = line_mask(scan, name)
    if scan.mask is not None and not np.array_equal(
        scan.mask, np.broadcast_to(mask[:, None], scan.mask.shape)
    ):
        raise ParameterError(f"{name} reads whole readouts and some of this scan are not")
    assert scan.sensitivities is not None
    samples = acquisition.samples.astype(np.complex64, copy=False)
    nz, ny, nx = scan.grid.shape
    back = scan.adjoint(samples).reshape(-1, ny, nx)
    repeats = len(back) // nz
    each = np.tile(scan.sensitivities.transpose(1, 0, 2, 3), (repeats, 1, 1, 1))
    scale = float(np.quantile(np.abs(back), 0.99)) or 1.0
    return Slices(
        (back / scale).astype(np.complex64), each.astype(np.complex64), kept(mask, ny), scale
    )


def kept(mask: Array, size: int) -> Array:
    """``C F^H M F C^H``, complex64 ``(size, size)``: of an image of ``size`` rows, what lines
    ``mask`` of its k-space (as long, or longer) tell.
    """
    columns = np.eye(size, dtype=np.complex64)[..., None]
    y = fourier.to_kspace(fourier.padded(columns, (len(mask), 1)), axes=(-2,))
    seen = fourier.to_image(y * mask[:, None], axes=(-2,))
    return np.ascontiguousarray(fourier.cropped(seen, (size, 1))[..., 0].T, np.complex64)


@operation("models.reconstruct")
def reconstruct(
    acquisition: Acquisition,
    *,
    model: Annotated[
        str,
        Param("Name of an installed model to reconstruct, or its folder or file", opens="model"),
    ],
    maps: Maps = "auto",
    part: Part = "magnitude",
    progress: Progress = QUIET,
) -> Image:
    """Reconstruct undersampled k-space of several coils by a trained, unrolled network.

    It agrees with the data like `acquire.mri.sense` and has learned what images look like. It
    can invent what the training images had: compare it with SENSE before you believe a detail.
    """
    network = opened(model, "reconstruct")
    ready = slices(acquisition, "models.reconstruct", maps=maps)
    found = np.empty(ready.back.shape, np.complex64)
    for i in progress.over(list(range(len(found))), network.card.name):
        said = network.engine(ready.given(i))[0]
        if said.shape != (1, 2, *found.shape[1:]):
            raise Refused(
                f"{network.card.name} answers {said.shape} for a slice of {found.shape[1:]}; the "
                "card and the graph do not belong together"
            )
        found[i] = said[0, 0] + 1j * said[0, 1]
    scan = acquisition.operator
    data = (found * ready.scale).reshape(*scan.domain)
    return image_of(acquisition, data, part=part)
