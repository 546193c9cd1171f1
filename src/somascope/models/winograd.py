"""Convolutions of 3 x 3 x 3 with half the multiplications, in a graph that OpenVINO has read.

Along z four slices of the answer are made from six of the input at a time, by six convolutions of
3 x 3 within slices in place of twelve: F(4, 3) of Winograd's minimal filters (Lavin and Gray, Fast
Algorithms for Convolutional Neural Networks, CVPR 2016, section 4.3). Sums and small factors
before and behind stay in the cache, as a few slices are worked on at a time. The answer is the same
but for rounding, of about a hundred-thousandth of its spread.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from somascope.core.grid import Array

WORK = 10e9
"""Multiply-adds of a run from which it is worth the seconds that a larger graph takes to start."""
CHANNELS = 16
"""Channels in and out from which the convolutions cost more than the sums around them."""
ROOM = 64 << 20
"""Bytes of the maps between that a part along z may take: smaller parts stay better in the cache,
and each keeps weights of its own and takes time to start.
"""
WEIGHTS = np.array([
    [1 / 4, 0, 0], [-1 / 6, -1 / 6, -1 / 6], [-1 / 6, 1 / 6, -1 / 6], [1 / 24, 1 / 12, 1 / 6],
    [1 / 24, -1 / 12, 1 / 6], [0, 0, 1],
], np.float32)  # fmt: skip
BEFORE = np.array([
    [4, 0, -5, 0, 1, 0], [0, -4, -4, 1, 1, 0], [0, 4, -4, -1, 1, 0], [0, -2, -1, 2, 1, 0],
    [0, 2, -1, -2, 1, 0], [0, 4, 0, -5, 0, 1],
])  # fmt: skip
BEHIND = np.array([
    [1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1],
])  # fmt: skip


@dataclass(frozen=True)
class _Convolution:
    """One that can be done so: what it reads ``(1, c, z, y, x)`` and its weights."""

    node: Any
    given: Any
    weights: Array
    shape: tuple[int, ...]

    @property
    def work(self) -> float:
        """Multiply-adds."""
        return float(self.weights.size) * float(np.prod(self.shape[2:]))


def quicker(model: Any) -> int:
    """Put such convolutions in the place of plain ones in a model of OpenVINO's, if it is large.

    Returns how many were replaced: none in a small model, or one of unknown sizes. Two whose
    answers are added (see `somascope.models.parting`) become one.
    """
    known = {
        c.node.get_friendly_name(): c
        for c in (_fitting(n) for n in model.get_ordered_ops()) if c is not None
    }  # fmt: skip
    if sum(c.work for c in known.values()) < WORK:
        return 0
    count = len(known)
    for node in model.get_ordered_ops():
        if node.get_type_name() != "Add":
            continue
        ends = [known.get(node.input_value(i).get_node().get_friendly_name()) for i in (0, 1)]
        pair = [c for c in ends if c is not None and _uses(c.node) == 1]
        if len(pair) == 2 and pair[0].node != pair[1].node:
            _replaced(node, pair)
            for c in pair:
                del known[c.node.get_friendly_name()]
    for c in known.values():
        _replaced(c.node, [c])
    return count


def _uses(node: Any) -> int:
    return len(node.output(0).get_target_inputs())


def _fitting(node: Any) -> _Convolution | None:
    if node.get_type_name() != "Convolution":
        return None
    constant = node.input_value(1).get_node()
    sizes = node.input_value(0).get_partial_shape()
    if constant.get_type_name() != "Constant" or not sizes.is_static:
        return None
    shape = tuple(int(n) for n in sizes.to_shape())
    how = node.get_attributes()
    plain = all(
        list(how[k]) == [1, 1, 1] for k in ("strides", "dilations", "pads_begin", "pads_end")
    )
    kernel = tuple(constant.get_output_shape(0))
    if not plain or kernel[2:] != (3, 3, 3) or min(kernel[:2]) < CHANNELS:
        return None
    if shape[0] != 1 or shape[2] % 4:
        return None
    return _Convolution(node, node.input_value(0), np.asarray(constant.data, np.float32), shape)


def _replaced(node: Any, several: list[_Convolution]) -> None:
    """The sum of some convolutions in the place of ``node``."""
    made = _summed(several)
    for target in node.output(0).get_target_inputs():
        target.replace_source_output(made.output(0))


def _summed(several: list[_Convolution]) -> Any:
    from openvino import opset13 as ops

    tiles = several[0].shape[2] // 4
    taken = sum(12 * 4 * c.shape[1] * c.shape[3] * c.shape[4] for c in several)
    pieces = min(-(-tiles * taken // ROOM), tiles)
    deep = -(-tiles // pieces)
    weights = [
        [ops.constant(np.ascontiguousarray(w[:, :, None], np.float32))
         for w in np.einsum("iz,kczyx->ikcyx", WEIGHTS, c.weights)]
        for c in several
    ]  # fmt: skip
    slices: list[Any] = []
    for first in range(0, tiles, deep):
        count = min(deep, tiles - first)
        made: list[Any] = [None] * 6
        for c, own in zip(several, weights, strict=True):
            read = [_every_fourth(c, 4 * first + j - 1, count) for j in range(6)]
            for i in range(6):
                within = ops.convolution(
                    _combined(BEFORE[i], read), own[i], [1] * 3, [0, 1, 1], [0, 1, 1], [1] * 3
                )
                made[i] = within if made[i] is None else ops.add(made[i], within)
        four = [_combined(row, made) for row in BEHIND]
        slices += [
            end if count == 1 else _cut(end, t, t + 1, 1) for t in range(count) for end in four
        ]
    return ops.concat(slices, 2)


def _combined(factors: Array, parts: list[Any]) -> Any:
    """The sum of maps times small numbers; what is taken zero times is left out."""
    from openvino import opset13 as ops

    total: Any = None
    for factor, part in zip(factors, parts, strict=True):
        if factor == 0:
            continue
        one = part if factor == 1 else ops.multiply(part, ops.constant(np.float32(factor)))
        total = one if total is None else ops.add(total, one)
    return total


def _every_fourth(c: _Convolution, start: int, count: int) -> Any:
    """``count`` slices from ``start`` on, each four further; zeros where there are none."""
    from openvino import opset13 as ops

    where = [start + 4 * t for t in range(count)]
    inside = [z for z in where if 0 <= z < c.shape[2]]
    nothing = ops.constant(np.zeros((1, c.shape[1], 1, *c.shape[3:]), np.float32))
    if not inside:
        return nothing
    read = _cut(c.given, inside[0], inside[-1] + 1, 4)
    if len(inside) == count:
        return read
    return ops.concat([nothing, read] if where[0] < 0 else [read, nothing], 2)


def _cut(given: Any, start: int, stop: int, step: int) -> Any:
    from openvino import opset13 as ops

    numbers = (ops.constant(np.array([n], np.int64)) for n in (start, stop, step, 2))
    return ops.slice(given, *numbers)
