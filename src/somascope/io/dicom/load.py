"""Voxels of a stack: every frame is read straight into its place in one array, then made real.

Integers stay integers (int16 Hounsfield units) where slope and intercept are whole and the result
fits; everything else becomes float32.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from somascope.core.errors import CorruptFile, ReadError
from somascope.core.grid import Array
from somascope.core.progress import QUIET, Progress
from somascope.io.dicom.assemble import Stack
from somascope.io.dicom.slices import Slice

_INT16 = np.iinfo(np.int16)


class Damaged(ReadError):
    """Some slices could not be decoded: ``slices`` with their errors."""

    def __init__(self, slices: list[tuple[Slice, ReadError]]) -> None:
        super().__init__(f"{len(slices)} slice(s) cannot be decoded")
        self.slices = slices


def voxels(stack: Stack, *, progress: Progress = QUIET) -> Array:
    """Read, decode and rescale all slices of a stack.

    Returns
    -------
    Array
        ``(leading..., nz, ny, nx)``, colour ``(leading..., 3, nz, ny, nx)``.

    Raises
    ------
    Damaged
        With all slices that could not be decoded.
    """
    first = stack.slices[0]
    form = first.instance.form
    order = [stack.slices[int(i)] for i in stack.table.ravel()]
    lead, nz, plane = stack.table.shape[:-1], stack.table.shape[-1], first.shape
    if form.colour:
        return _colour(order, lead, nz, plane, progress)
    kinds = {s.instance.form.dtype for s in order}
    dtype = np.result_type(*kinds)
    rescales = {s.rescale for s in order}
    shape = (*lead, nz, *plane)
    whole = dtype.kind in "iu" and len(rescales) == 1 and first.rescale.whole
    if whole and first.rescale.slope == 1:
        data = _empty((len(order), *plane), dtype)
        shift = int(first.rescale.intercept)
        if shift == 0:
            _read(order, data, None, progress)
            return data.reshape(shape)
        if dtype.itemsize == 2 and abs(shift) <= _INT16.max:
            return _shifted(order, data, shift, progress).reshape(shape)
    real = np.float32 if dtype.itemsize < 8 or dtype.kind != "f" else np.float64
    data = _empty((len(order), *plane), np.dtype(real))
    if (
        dtype.kind == "f"
        and rescales == {first.rescale}
        and first.rescale.slope == 1
        and first.rescale.intercept == 0
    ):
        _read(order, data, None, progress)
        return data.reshape(shape)

    def rescaled(k: int, stored: Array) -> None:
        data[k] = order[k].rescale.apply(stored)

    _read(order, None, rescaled, progress)
    if whole and dtype.itemsize <= 2 and data.min() >= _INT16.min and data.max() <= _INT16.max:
        data = data.astype(np.int16)
    return data.reshape(shape)


def _empty(shape: Sequence[int], dtype: np.dtype) -> Array:
    try:
        return np.empty(shape, dtype)
    except (MemoryError, ValueError) as error:
        raise CorruptFile(
            f"the series claims to be {tuple(shape)} of {dtype}; there is no memory for it"
        ) from error


def _shifted(order: list[Slice], data: Array, shift: int, progress: Progress) -> Array:
    """16-bit stored values plus a whole number as int16; float32 where that does not hold them.

    Adding modulo 2^16 is exact when the sum fits, whatever the stored signedness; each slice is
    shifted while it is in the cache, and only the extremes decide afterwards.
    """
    low, high = np.empty(len(order), np.int64), np.empty(len(order), np.int64)
    bounded = all(_bounded(s, shift) for s in order)
    target = data.view(np.int16)
    step = np.array(shift).astype(np.int16)

    def settle(k: int, stored: Array) -> None:
        if not bounded:
            low[k], high[k] = stored.min(), stored.max()
        np.add(target[k], step, out=target[k])

    _read(order, data, settle, progress)
    if bounded or (low.min() + shift >= _INT16.min and high.max() + shift <= _INT16.max):
        return target
    np.subtract(target, step, out=target)
    return data.astype(np.float32) + np.float32(shift)


def _bounded(s: Slice, shift: int) -> bool:
    form = s.instance.form
    low = -(1 << (form.stored - 1)) if form.signed else 0
    high = (1 << (form.stored - 1 if form.signed else form.stored)) - 1
    return low + shift >= _INT16.min and high + shift <= _INT16.max


def _colour(
    order: list[Slice], lead: tuple[int, ...], nz: int, plane: tuple[int, int], progress: Progress
) -> Array:
    wide = any(
        s.instance.form.dtype.itemsize > 1 or s.instance.form.photometric == "PALETTE COLOR"
        for s in order
    )
    count = max(len(order) // nz, 1)
    data = _empty((count, 3, nz, *plane), np.dtype(np.uint16 if wide else np.uint8))
    eight = np.ones(len(order), bool)

    def place(k: int, stored: Array) -> None:
        eight[k] = stored.dtype.itemsize == 1
        data[k // nz, :, k % nz] = np.moveaxis(stored, -1, 0)

    _read(order, None, place, progress)
    if wide and eight.all():
        data = data.astype(np.uint8)
    return data.reshape(*lead, 3, nz, *plane)


def _read(
    order: list[Slice],
    data: Array | None,
    done: Callable[[int, Array], None] | None,
    progress: Progress,
) -> None:
    """Decode each slice, into ``data[k]`` where given; ``done(k, stored)`` follows."""
    jobs: dict[tuple[int, int], list[int]] = {}
    for k, s in enumerate(order):
        jobs.setdefault((id(s.instance), s.frame), []).append(k)
    failed: list[tuple[Slice, ReadError]] = []

    def one(members: list[int]) -> None:
        s = order[members[0]]
        try:
            if s.tile is None and data is not None and len(members) == 1:
                s.instance.into(s.frame, data[members[0]])
                if done is not None:
                    done(members[0], data[members[0]])
                return
            frame = s.instance.frame(s.frame)
            for k in members:
                tile = order[k].tile
                stored = (
                    frame
                    if tile is None
                    else frame[tile[0] : tile[0] + tile[2], tile[1] : tile[1] + tile[3]]
                )
                if data is not None:
                    data[k] = stored
                if done is not None:
                    done(k, data[k] if data is not None else stored)
        except ReadError as error:
            failed.extend((order[k], error) for k in members)
        except (ValueError, MemoryError, OSError) as error:
            reason = CorruptFile(f"{s.instance.elements.name}: cannot be decoded: {error}")
            failed.extend((order[k], reason) for k in members)

    work = list(jobs.values())
    workers = min(8, os.cpu_count() or 1)
    if len(work) < 4 or workers == 1:
        for i, members in enumerate(work):
            one(members)
            progress((i + 1) / len(work), "pixels")
    else:
        with ThreadPoolExecutor(workers, thread_name_prefix="dicom-pixels") as pool:
            try:
                for i, _ in enumerate(pool.map(one, work)):
                    progress((i + 1) / len(work), "pixels")
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise
    if failed:
        raise Damaged(failed)
