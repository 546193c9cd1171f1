"""Compile every kernel of the filters for Hopper, without a GPU; run by `test_gpu_compiles`."""

from __future__ import annotations

from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from somascope.process import gpu
from somascope.process.neighbourhood import gpu as around

KINDS = {
    **dict.fromkeys(("volume", "out", "taps", "space"), "*fp32"),
    "affine": "*fp64",
    "keys": "*i32",
    "count": "i64",
    **dict.fromkeys(("square", "sign", "fill", "slope", "bias"), "fp32"),
}


def build(kernel: Any, kinds: dict[str, str] | None = None, **fixed: Any) -> None:
    """Down to machine code; what is not an array or in ``fixed`` is a 32-bit number."""
    names = kernel.arg_names
    known = {**KINDS, **(kinds or {})}
    signature = {n: "constexpr" if n in fixed else known.get(n, "i32") for n in names}
    source = ASTSource(
        fn=kernel, signature=signature,
        constexprs={(names.index(n),): v for n, v in fixed.items()},
    )  # fmt: skip
    made = triton.compile(source, target=GPUTarget("cuda", 90, 32))
    print(kernel.__name__, fixed, len(made.asm["cubin"]))


for one in (gpu._convolve, gpu._extreme, gpu._nearest, around._bilateral, around._means):
    build(one, BLOCK=512)
for order in (0, 1, 3):
    build(gpu._sample, BLOCK=512, ORDER=order)
for size in (32, 128):
    build(around._rank, {"out": "*i32"}, BLOCK=2048 // size, SIZE=size)
