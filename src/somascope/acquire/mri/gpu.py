"""MRI scans on torch tensors: coils, and the Fourier transform on a lattice or off it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from somascope.acquire import gpu
from somascope.acquire.mri.fourier import centre


class _Coils:
    """What both scans share: coil maps before the transform and after it."""

    def __init__(self, scan: Any, device: torch.device) -> None:
        self.scan = scan
        maps = scan.sensitivities
        self.maps = None if maps is None else _here(maps, np.complex64, device)

    def forward(self, x: Tensor) -> Tensor:
        """Samples of an image ``(*leading, nz, ny, nx)``, complex64."""
        x = gpu.demand(x, self.scan.domain, what="the image", complex_=True)
        return gpu.linear(x, self._forward, self._adjoint)

    def adjoint(self, y: Tensor) -> Tensor:
        """Coil-combined adjoint of samples, complex64."""
        y = gpu.demand(y, self.scan.range, what="the samples", complex_=True)
        return gpu.linear(y, self._adjoint, self._forward)

    def _forward(self, x: Tensor) -> Tensor:
        parts = x[..., None, :, :, :]
        if self.maps is None:
            parts = parts.expand(*x.shape[:-3], self.scan.coils, *x.shape[-3:])
        else:
            parts = parts * self.maps
        return self._encode(parts).reshape(self.scan.range)

    def _adjoint(self, y: Tensor) -> Tensor:
        parts = self._decode(y)
        if self.maps is not None:
            parts = parts * self.maps.conj()
        return parts.sum(dim=-4).reshape(self.scan.domain)

    def _encode(self, parts: Tensor) -> Tensor:
        raise NotImplementedError

    def _decode(self, y: Tensor) -> Tensor:
        raise NotImplementedError


class Cartesian(_Coils):
    """`CartesianScan` on one device."""

    def __init__(self, scan: Any, device: torch.device) -> None:
        super().__init__(scan, device)
        self.mask = None
        if scan.mask is not None:
            self.mask = _here(scan.mask[..., None, :, :, :], np.float32, device)
        self.inner = (..., *centre(scan.matrix, scan.grid.shape))

    def _encode(self, parts: Tensor) -> Tensor:
        axes = self.scan.encoded
        whole = parts.new_zeros((*parts.shape[:-3], *self.scan.matrix))
        whole[self.inner] = parts
        y = torch.fft.fftn(torch.fft.ifftshift(whole, dim=axes), dim=axes, norm="ortho")
        y = torch.fft.fftshift(y, dim=axes)
        return y if self.mask is None else y * self.mask

    def _decode(self, y: Tensor) -> Tensor:
        axes = self.scan.encoded
        y = y if self.mask is None else y * self.mask
        x = torch.fft.ifftn(torch.fft.ifftshift(y, dim=axes), dim=axes, norm="ortho")
        return torch.fft.fftshift(x, dim=axes)[self.inner]


class NonCartesian(_Coils):
    """`NonCartesianScan` on one device."""

    def _encode(self, parts: Tensor) -> Tensor:
        scan = self.scan
        if not scan.slices and scan.dimensions == 2:
            parts = parts[..., 0, :, :]
        return scan.transform.forward(parts.contiguous()) * scan.scale

    def _decode(self, y: Tensor) -> Tensor:
        scan = self.scan
        x = scan.transform.adjoint(y) * scan.scale
        return x.reshape(*scan.range[: len(scan.axes) + 1], *scan.grid.shape)


def _here(array: Any, kind: Any, device: torch.device) -> Tensor:
    return torch.from_numpy(np.array(array, kind)).to(device)
