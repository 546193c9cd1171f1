"""Rigid motion: six numbers and the 4x4 matrix they stand for.

``(L, P, S, rL, rP, rS)``: millimetres and degrees. A point ``x`` of the head (LPS mm) lies at
``R (x - c) + c + t`` when the head has moved, with ``R = R_S R_P R_L`` (right-handed turns, about
L first) and ``c`` the centre of the grid.
"""

from __future__ import annotations

import numpy as np

from somascope.core.grid import Float, Grid


def centre_of(grid: Grid) -> Float:
    """The middle of the grid, LPS mm."""
    return grid.to_world((np.asarray(grid.shape) - 1) / 2)


def matrix(parameters: Float, centre: Float) -> Float:
    """4x4 of the motion ``(6,)`` about ``centre``: head at rest to head moved."""
    t, (a, b, c) = np.asarray(parameters[:3]), np.deg2rad(parameters[3:6])
    about_l = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_p = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    about_s = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    out = np.eye(4)
    out[:3, :3] = about_s @ about_p @ about_l
    out[:3, 3] = centre + t - out[:3, :3] @ centre
    return out


def parameters(transform: Float, centre: Float) -> Float:
    """The six numbers of a rigid 4x4, inverse of `matrix` (turns about P below 90 degrees)."""
    r = transform[:3, :3]
    t = transform[:3, 3] - centre + r @ centre
    b = np.arcsin(np.clip(-r[2, 0], -1, 1))
    a, c = np.arctan2(r[2, 1], r[2, 2]), np.arctan2(r[1, 0], r[0, 0])
    return np.concatenate([t, np.rad2deg([a, b, c])])


def between(moving: Grid, transform: Float, fixed: Grid) -> Float:
    """4x4 from indices of ``fixed`` to fractional indices of ``moving`` through a world map."""
    return np.linalg.inv(moving.affine) @ transform @ fixed.affine
