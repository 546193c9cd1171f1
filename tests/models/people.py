"""Models of every task, each with the small population it was made for, drawn from a seed."""

from dataclasses import replace

import numpy as np

from somascope.core import Axis, Grid, Image
from somascope.models import ClassName, Preparation, familiar
from tests.models import graphs

TURNED = [[0, 0.1, 0.995], [0, 0.995, -0.1], [1, 0, 0]]


def trunk(rng, *, shape=(20, 32, 28), modality="MR", spacing=(3.0, 2.0, 2.0)):
    """A body with a bright organ on one side, two dark ones, a spine at the back, and noise."""
    z, y, x = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    grow = rng.uniform(0.92, 1.08, 3)
    shift = rng.uniform(-0.05, 0.05, 3)
    z, y, x = ((c - s) * g for c, s, g in zip((z, y, x), shift, grow, strict=True))
    values = np.where((y / 0.8) ** 2 + (x / 0.9) ** 2 < 1, 100.0, 5.0)
    for centre, size, shade in (
        ((-0.4, -0.1, -0.4), (0.4, 0.4, 0.35), 180), ((0.4, 0.0, -0.4), (0.45, 0.4, 0.3), 20),
        ((0.4, 0.0, 0.4), (0.45, 0.4, 0.3), 20), ((-0.5, -0.2, 0.4), (0.25, 0.25, 0.2), 140),
    ):  # fmt: skip
        far = sum(((a - c) / s) ** 2 for a, c, s in zip((z, y, x), centre, size, strict=True))
        values[far < 1] = shade * rng.uniform(0.93, 1.07)
    values[(y - 0.6) ** 2 + x**2 < 0.02] = 220
    values = values + rng.normal(0, rng.uniform(3, 5), shape)
    grid = Grid.from_spacing(shape, spacing, origin=(3, 4, 5), direction=TURNED)
    return Image(
        values.astype(np.float32), grid, modality, attributes={"BodyPartExamined": "ABDOMEN"}
    )


def film(rng, *, size=48, modality="DX"):
    """One picture of such a body where its sides differ, 8 bits."""
    volume = trunk(rng, shape=(5, size, size))
    values = np.clip(volume.data[1:2], 0, 255).astype(np.uint8)
    grid = Grid.from_spacing(values.shape, (1.0, 1.0, 1.0))
    return Image(values, grid, modality)


def eye(rng, *, size=32):
    """A reddish disc, a bright spot at its right, dark lines."""
    y, x = np.mgrid[:size, :size] / (size - 1) * 2 - 1
    x, y = x - rng.uniform(-0.05, 0.05), y - rng.uniform(-0.05, 0.05)
    inside = x**2 + y**2 < 0.9
    light = rng.uniform(0.9, 1.1)
    parts = [np.where(inside, c * light, 4.0) for c in (190.0, 90.0, 40.0)]
    spot = (x - 0.5) ** 2 + (y + 0.1) ** 2 < 0.03
    line = inside & (np.abs(y - 0.4 * np.sin(3 * x + rng.uniform(-0.2, 0.2))) < 0.05)
    for part, bright in zip(parts, (250, 220, 150), strict=True):
        part[spot] = bright
        part[line] *= 0.6
    noisy = np.stack(parts)[:, None] + rng.normal(0, 3, (3, 1, size, size))
    grid = Grid.from_spacing((1, size, size), (1.0, 1.0, 1.0))
    return Image(np.clip(noisy, 0, 255).astype(np.uint8), grid, "OP", axes=(Axis("channel"),))


FIXED = Preparation(scaling="range", low=0.0, high=255.0)
TWO = (ClassName.named("well"), ClassName.named("ill"))
WORLDS = {
    "classify": (film, graphs.classifier, {
        "dimensions": 2, "modalities": ("DX", "CR"), "spacing_mm": (0.0, np.inf), "classes": TWO,
        "patch": (), "preparation": replace(FIXED, size=(1, 8, 8)), "intensity": (-255.0, 510.0),
    }),
    "segment": (trunk, graphs.segmenter, {
        "modalities": ("MR",), "spacing_mm": (1.0, 6.0), "intensity": (-np.inf, np.inf),
        "preparation": Preparation(orient=True, scaling="percentile"),
        "body_parts": ("ABDOMEN",),
    }),
    "segment.colour": (eye, graphs.colours, {
        "dimensions": 2, "modalities": ("OP",), "spacing_mm": (0.0, np.inf), "channels": 3,
        "patch": (16, 16), "preparation": FIXED, "intensity": (-255.0, 510.0),
    }),
    "detect": (film, graphs.detector, {
        "dimensions": 2, "modalities": ("DX",), "spacing_mm": (0.0, np.inf), "patch": (),
        "preparation": FIXED, "intensity": (-255.0, 510.0), "stride": 4,
    }),
    "register": (trunk, lambda: graphs.mover(shape=(24, 32, 32)), {
        "modalities": ("MR",), "spacing_mm": (1.0, 6.0), "classes": (), "patch": (24, 32, 32),
        "intensity": (-np.inf, np.inf), "body_parts": ("ABDOMEN",),
        "preparation": Preparation(orient=True, scaling="percentile"),
    }),
}  # fmt: skip


def packed(name, *, count=30):
    """The model of a task, acquainted with ``count`` images of its population."""
    draw, graph, fields = WORLDS[name]
    how = fields["preparation"]
    seen = [familiar.facts(draw(np.random.default_rng(i))) for i in range(count)]
    usual = familiar.learned(
        seen, [str(i) for i in range(count)], measured=np.isfinite(fields["spacing_mm"][1]),
        fixed=how.scaling == "range", colour=fields.get("channels", 1) == 3,
    )  # fmt: skip
    task = name.split(".")[0]
    return graphs.packed(graph(), name=f"{name}.test", task=task, familiar=usual, **fields)
