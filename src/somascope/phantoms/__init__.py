"""Worlds with a known truth: bodies made of ellipsoids, and what each modality sees of them."""

from __future__ import annotations

from somascope.phantoms.brain import brain_grid, brain_mask, brain_mr
from somascope.phantoms.ellipsoid import (
    Ellipsoid,
    draw,
    draw_labels,
    ellipse_fourier,
    ellipse_radon,
    fourier,
    line_integrals,
)
from somascope.phantoms.followed import FollowUp, Motion, thorax_follow_up
from somascope.phantoms.nema import nema_pet, nema_shapes
from somascope.phantoms.shepp_logan import shepp_logan, shepp_logan_shapes
from somascope.phantoms.spect import (
    chest_spect,
    chest_spect_ct,
    rods_spect,
    rods_spect_ct,
    spect_grid,
)
from somascope.phantoms.thorax import (
    thorax_ct,
    thorax_dx,
    thorax_grid,
    thorax_mask,
    thorax_pet,
    thorax_shapes,
)
from somascope.phantoms.ultrasound import heart_us

__all__ = [
    "Ellipsoid",
    "FollowUp",
    "Motion",
    "brain_grid",
    "brain_mask",
    "brain_mr",
    "chest_spect",
    "chest_spect_ct",
    "draw",
    "draw_labels",
    "ellipse_fourier",
    "ellipse_radon",
    "fourier",
    "heart_us",
    "line_integrals",
    "nema_pet",
    "nema_shapes",
    "rods_spect",
    "rods_spect_ct",
    "shepp_logan",
    "shepp_logan_shapes",
    "spect_grid",
    "thorax_ct",
    "thorax_dx",
    "thorax_follow_up",
    "thorax_grid",
    "thorax_mask",
    "thorax_pet",
    "thorax_shapes",
]
