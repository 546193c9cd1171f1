"""Radial k-space of eight coils, with coil maps: Somascope, SigPy, MRI-NUFFT (FINUFFT inside)."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks.acquire.mri_case import Array, coil_maps, error, head
from benchmarks.turns import compared
from somascope.acquire.mri.noncartesian import NonCartesianScan


def _sigpy(maps: Array, path: Array, n: int) -> tuple[Callable, Callable]:  # noqa: ARG001
    import sigpy.mri as mr

    operator = mr.linop.Sense(maps[:, 0], coord=path.astype(np.float32))
    return (lambda x: operator * x[0]), (lambda y: operator.H * y)


def _mrinufft(maps: Array, path: Array, n: int) -> tuple[Callable, Callable]:
    import mrinufft

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        operator = mrinufft.get_operator("finufft")(
            (path.reshape(-1, 2) / n).astype(np.float32), (n, n), n_coils=len(maps),
            smaps=maps[:, 0], density=None, eps=1e-3, n_trans=len(maps), squeeze_dims=True,
        )  # fmt: skip
    # Its transform is scaled by 1 / sqrt(4 voxels), ours by 1 / sqrt(voxels).
    return (
        (lambda x: operator.op(x[0]) * np.float32(2)),
        (lambda y: operator.adj_op(y.reshape(len(maps), -1)) * np.float32(2)),
    )


PEERS = {"sigpy": _sigpy, "mri-nufft": _mrinufft}


def run(*, small: bool) -> Iterator[dict[str, Any]]:
    """Forward and adjoint against both peers; truth is the same sum in double precision."""
    n, spokes, readout, rounds = (64, 100, 128, 3) if small else (256, 402, 512, 7)
    x, grid = head(n)
    maps = coil_maps(n)
    turns = np.pi * np.arange(spokes) / spokes
    r = np.linspace(-n / 2, n / 2, readout, endpoint=False)
    path = np.stack([np.outer(np.sin(turns), r), np.outer(np.cos(turns), r)], -1)
    scan = NonCartesianScan(grid, trajectory=path, sensitivities=maps, tolerance=1e-3)
    exact = NonCartesianScan(grid, trajectory=path, sensitivities=maps, tolerance=1e-11)
    y64 = exact.forward(x.astype(complex))
    x64 = exact.adjoint(y64)
    y = y64.astype(np.complex64)
    size = f"radial {spokes} x {readout}, 8 coils with maps, {n}^2"
    for package, make in PEERS.items():
        forward, adjoint = make(maps, path, n)
        yield compared(
            "mri.nufft", f"{size}, forward", package=package, rounds=rounds,
            ours=lambda: scan.forward(x), peer=lambda f=forward: f(x),
            quality=lambda a: error(a, y64), metric="relative error",
        )  # fmt: skip
        yield compared(
            "mri.nufft", f"{size}, adjoint", package=package, rounds=rounds,
            ours=lambda: scan.adjoint(y), peer=lambda f=adjoint: f(y),
            quality=lambda a: error(a, x64), metric="relative error",
        )  # fmt: skip
