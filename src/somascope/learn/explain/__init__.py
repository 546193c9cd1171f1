"""Where an answer comes from: one `explain` for all four tasks, in 2-D and 3-D, with its own tests.

`maps` has the methods, `counterfactual` what would have to be different, `faithful` the tests that
stand beside every map; `somascope.learn.layers` walks through the layers, and
`somascope.learn.prototypes` finds the training cases that look most alike to the network.
"""

from __future__ import annotations

from somascope.learn.explain.ask import Explanation, Method, explain, mapped
from somascope.learn.explain.counterfactual import Counterfactual, counterfactual
from somascope.learn.explain.faithful import chance, destroyed, faithfulness, likeness
from somascope.learn.explain.maps import gradcam, gradients, occlusion
from somascope.learn.explain.target import (
    Score,
    deepest,
    input_of,
    looked_at,
    nothing,
    opened,
    score_of,
    turning,
)

__all__ = [
    "Counterfactual", "Explanation", "Method", "Score", "chance", "counterfactual", "deepest",
    "destroyed", "explain", "faithfulness", "gradcam", "gradients", "input_of", "likeness",
    "looked_at", "mapped", "nothing", "occlusion", "opened", "score_of", "turning",
]  # fmt: skip
