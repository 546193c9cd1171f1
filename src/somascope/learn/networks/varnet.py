"""Unrolled reconstruction: the iterations of a solver, with a small network for its prior.

Sources: Hammernik et al., Magn Reson Med 79, 2018 (variational network); Aggarwal, Mani and Jacob,
MoDL, IEEE TMI 38, 2019 (the data term solved by conjugate gradients between the networks).
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional


def normal(x: torch.Tensor, maps: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
    """``A^H A x`` of Cartesian parallel imaging whose phase encodings run along y.

    Complex numbers are pairs, so that the graph needs no more than products: ``x``
    ``(n, 2, y, x)``, ``maps`` ``(n, 2, coils, y, x)``, ``kept`` ``(n, 2, y, y)`` the matrix that
    transforms, leaves out what was not measured, and transforms back. Readouts are whole, so that
    nothing happens along x.
    """
    re, im = maps[:, 0], maps[:, 1]
    a, b = x[:, 0:1], x[:, 1:2]
    coil_re, coil_im = re * a - im * b, re * b + im * a
    p, q = kept[:, 0:1], kept[:, 1:2]
    seen_re, seen_im = p @ coil_re - q @ coil_im, p @ coil_im + q @ coil_re
    out_re = (re * seen_re + im * seen_im).sum(dim=1, keepdim=True)
    out_im = (re * seen_im - im * seen_re).sum(dim=1, keepdim=True)
    return torch.cat([out_re, out_im], dim=1)


class Prior(nn.Module):
    """What looks like noise or a fold in an image, ``(n, 2, y, x)`` to the same shape."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(2, width, 3, padding=1), nn.ReLU()]
        for i in range(depth - 2):
            # Every second one looks twice as far: folds lie far from what they are copies of.
            far = 2 if i % 2 else 1
            layers += [nn.Conv2d(width, width, 3, padding=far, dilation=far), nn.ReLU()]
        last = nn.Conv2d(width, 2, 3, padding=1)
        nn.init.normal_(last.weight, std=1e-3)  # it starts as the solver alone
        assert last.bias is not None
        nn.init.zeros_(last.bias)
        self.layers = nn.Sequential(*layers, last)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The part to take away."""
        return self.layers(x)


class VarNet(nn.Module):
    """Clean, then agree with the data, ``cascades`` times.

    Each time ``z = x - prior(x)``, then a few conjugate gradient steps from ``z`` towards the
    minimum of ``|A x - y|^2 + mu |x - z|^2`` with a learned ``mu``. Inputs: ``back`` ``A^H y``
    ``(n, 2, y, x)``, and ``maps`` and ``kept`` as for `normal`; output ``(n, 2, y, x)``. Any size,
    any number of coils, any choice of lines; ``back`` of about unit size.

    Parameters
    ----------
    width, depth
        Channels and convolutions of each prior.
    inner
        Conjugate gradient steps.
    """

    def __init__(
        self, *, cascades: int = 4, width: int = 24, depth: int = 5, inner: int = 4
    ) -> None:
        super().__init__()
        self.inner = inner
        self.priors = nn.ModuleList(Prior(width, depth) for _ in range(cascades))
        self.hold = nn.Parameter(torch.full((cascades,), -3.0))

    def forward(self, back: torch.Tensor, maps: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
        """The image."""
        x = self._agreed(back, back, maps, kept, torch.zeros_like(self.hold[0]))
        for i, prior in enumerate(self.priors):
            mu = functional.softplus(self.hold[i])
            z = x - prior(x)
            x = self._agreed(z, back + mu * z, maps, kept, mu)
        return x

    def _agreed(
        self, start: torch.Tensor, wanted: torch.Tensor, maps: torch.Tensor, kept: torch.Tensor,
        mu: torch.Tensor,
    ) -> torch.Tensor:  # fmt: skip
        """``inner`` steps towards the solution of ``(A^H A + mu) x = wanted``."""
        x = start
        r = wanted - normal(x, maps, kept) - mu * x
        p, rho = r, _inner(r, r)
        for _ in range(self.inner):
            q = normal(p, maps, kept) + mu * p
            alpha = rho / (_inner(p, q) + 1e-12)
            x, r = x + alpha * p, r - alpha * q
            rho, before = _inner(r, r), rho
            p = r + rho / (before + 1e-12) * p
        return x


def _inner(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return (a * b).sum(dim=(1, 2, 3), keepdim=True)
