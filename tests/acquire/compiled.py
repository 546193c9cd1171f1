"""Compile every kernel for Hopper, without a GPU; run by `test_gpu_compiles`, not interpreted."""

from __future__ import annotations

from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from somascope.acquire import gpu
from somascope.acquire.ct import gpu as ct
from somascope.acquire.ct.feldkamp import gpu as feldkamp
from somascope.acquire.pet import gpu as pet

KINDS = {
    **dict.fromkeys(
        ("grid", "part", "values", "volume", "tables", "table", "metric", "data", "place",
         "detector", "out"), "*fp32",
    ),
    **dict.fromkeys(("whole", "entries", "starts", "which"), "*i32"),
    "order": "*i64",
    **dict.fromkeys(("half_c", "half_r", "beta"), "fp32"),
}  # fmt: skip


def build(kernel: Any, kinds: dict[str, str] = KINDS, **fixed: Any) -> None:
    """Down to machine code; what is not an array or in ``fixed`` is a 32-bit number."""
    names = kernel.arg_names
    signature = {n: "constexpr" if n in fixed else kinds.get(n, "i32") for n in names}
    source = ASTSource(
        fn=kernel, signature=signature,
        constexprs={(names.index(n),): v for n, v in fixed.items()},
    )  # fmt: skip
    made = triton.compile(source, target=GPUTarget("cuda", 90, 32))
    print(kernel.__name__, fixed, len(made.asm["cubin"]))


for solid in (False, True):
    tz, ty, tx = gpu._SOLID if solid else gpu._PLANE
    build(gpu._interpolate, WIDTH=5, SOLID=solid, BLOCK=128)
    build(gpu._spread, WIDTH=5, SOLID=solid, TZ=tz, TY=ty, TX=tx, POINTS=gpu._POINTS)
for axis, parallel, curved, stacked in (
    (0, True, False, True), (1, False, True, True), (1, False, False, False),
    (2, False, True, False), (0, True, False, False),
):  # fmt: skip
    flags = {"AXIS": axis, "PARALLEL": parallel, "CURVED": curved, "STACKED": stacked}
    one = {"na": 1, "rows": 1} if stacked else {}  # a launch makes constants of ones
    build(ct._project, **flags, **one, TABLE=25, ROWS=8, COLUMNS=32)
    build(ct._unproject, **flags, **one, TABLE=25, TALL=8, WIDE=32)
for curved in (False, True):
    build(feldkamp._back_project, CURVED=curved, TALL=8, WIDE=32)
lines = {
    **KINDS, **dict.fromkeys(("lines", "centres", "kernel", "scale"), "*fp32"), "reach": "fp32",
    "top": "fp32",
}  # fmt: skip
for timed in (False, True):
    flags = {"TIMED": timed, "COLUMNS": 9, "BORDER": 2, "BLOCK": 128}
    build(pet._gather, lines, **flags)
    build(pet._scatter, {**lines, "out": "*i64"}, **flags)
