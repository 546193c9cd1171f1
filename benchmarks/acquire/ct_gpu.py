"""CT on a GPU: our Triton kernels against ASTRA's CUDA, and `grid_sample` of torch.

Data stay on the device for ours and for torch; ASTRA's links to the same GPU memory. Where there is
no CUDA device nothing is measured, and one line says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks.acquire.ct_case import head, sinogram
from benchmarks.acquire.ct_fdk import error_by_middle, scene
from benchmarks.acquire.gpu_turns import cuda, on_cuda
from somascope.acquire.ct.fdk import Feldkamp
from somascope.acquire.ct.parallel import ParallelScan
from somascope.phantoms import line_integrals

Array = np.ndarray


def sampled(image: Any, angles: Array, bins: int) -> Callable[[], Any]:
    """Parallel projections in plain torch: the image turned by `grid_sample`, rows summed."""
    import torch

    n = image.shape[-1]
    across = (np.arange(bins) - (bins - 1) / 2) * 2 / n
    along = (np.arange(n) - (n - 1) / 2) * 2 / n
    t, s = (torch.tensor(a, dtype=torch.float32, device=image.device) for a in (along, across))

    def run() -> Any:
        rows = []
        for angle in angles:
            c, d = float(np.cos(angle)), float(np.sin(angle))
            x = s[None] * c - t[:, None] * d
            y = s[None] * d + t[:, None] * c
            turned = torch.nn.functional.grid_sample(
                image[None], torch.stack([x, y], -1)[None], align_corners=False
            )
            rows.append(turned[0, 0].sum(0))
        return torch.stack(rows)

    return run


def astra_parallel(image: Any, angles: Array, bins: int) -> Callable[[], Any]:
    """ASTRA's CUDA projector of a 2-D image, host arrays in and out as its 2-D part does."""
    import astra

    n = image.shape[-1]
    projections = astra.create_proj_geom("parallel", 1.0, bins, -angles)
    projector = astra.create_projector("cuda", projections, astra.create_vol_geom(n, n))
    operator = astra.OpTomo(projector)
    flat = image.cpu().numpy().ravel()
    return lambda: operator.FP(flat).reshape(len(angles), bins)


def astra_cone(data: Array, scan: Any) -> Callable[[], Any]:
    """ASTRA's FDK on CUDA; the copies between host and device are outside of it."""
    import astra

    vectors = scan.views()
    rows = np.concatenate([vectors.source, vectors.centre, vectors.u, vectors.v], axis=1)
    n = scan.grid.shape[0]
    projections = astra.create_proj_geom("cone_vec", scan.rows, scan.columns, rows)
    volume = astra.create_vol_geom(n, n, n)
    given = astra.data3d.create("-sino", projections, np.ascontiguousarray(data.swapaxes(0, 1)))
    made = astra.data3d.create("-vol", volume)
    config = astra.astra_dict("FDK_CUDA")
    config |= {"ProjectionDataId": given, "ReconstructionDataId": made}
    algorithm = astra.algorithm.create(config)

    def run() -> Array:
        astra.algorithm.run(algorithm)
        return astra.data3d.get_shared(made)

    return run


def run(*, small: bool) -> Iterator[dict[str, Any]]:
    """Parallel projection and its transpose, then Feldkamp."""
    if not cuda("ct.gpu"):
        return
    import torch

    device = torch.device("cuda")
    n, views = (96, 60) if small else (512, 720)
    truth, grid, shapes = head(n)
    bins = round(1.4375 * n)
    angles, lines = sinogram(shapes, views, bins)
    image = torch.from_numpy(truth[None]).to(device)

    def misfit(found: Array) -> float:
        return float(np.linalg.norm(found - lines) / np.linalg.norm(lines))

    peers: dict[str, Callable[..., Callable[[], Any]]] = {"torch": sampled}
    if _astra():
        peers["astra-toolbox"] = astra_parallel
    for projector in ("joseph", "fourier"):
        scan = ParallelScan(
            grid=grid, angles=angles, bins=bins, spacing=1.0,
            projector=projector,  # pyright: ignore[reportArgumentType]
        )  # fmt: skip
        for package, peer in peers.items():
            yield on_cuda(
                "ct.gpu", f"{n} x {n}, {views} views, forward ({projector})",
                ours=lambda scan=scan: scan.forward(image),  # pyright: ignore
                peer=peer(image, angles, bins), package=package, quality=misfit,
                metric="relative error", rounds=10,
            )  # fmt: skip
    if not _astra():
        return
    for size, count in [(48, 40)] if small else [(256, 180), (512, 360)]:
        truth, scan, shapes = scene(size, count)
        data = line_integrals(shapes, *scan.views().rays(), summed=True).astype(np.float32)
        engine, given = Feldkamp(scan), torch.from_numpy(data).to(device)
        yield on_cuda(
            "ct.gpu", f"FDK {size}^3, {count} views of {scan.rows} x {scan.columns}",
            ours=lambda engine=engine, given=given, scan=scan: engine.slab(given, scan.grid),  # pyright: ignore
            peer=astra_cone(data, scan), package="astra-toolbox",
            quality=error_by_middle(truth), metric="RMS error, middle slices", rounds=5,
        )  # fmt: skip


def _astra() -> bool:
    try:
        import astra
    except ImportError:
        return False
    return bool(astra.use_cuda())
