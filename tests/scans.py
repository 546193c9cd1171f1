"""A scan small enough to check by eye, for tests of how acquisitions are kept and passed on."""

from importlib.metadata import EntryPoint

import numpy as np

from somascope.core import Acquisition, Grid, Image, Provenance, Source, operation, registry


class ColumnSums:
    """Sums over y, times a weight per column: shape ``(nz, ny, nx)`` to ``(nz, nx)``."""

    kind = "test.column_sums"

    def __init__(self, *, grid, weights, label="sums"):
        self.grid = grid
        self.weights = np.asarray(weights, np.float32)
        self.label = label

    @property
    def domain(self):
        return self.grid.shape

    @property
    def range(self):
        return (self.grid.shape[0], self.grid.shape[2])

    def forward(self, x):
        return (x.sum(axis=1) * self.weights).astype(np.result_type(x, np.float32))

    def adjoint(self, y):
        weighted = (y * self.weights)[:, None, :]
        return np.broadcast_to(weighted, self.domain).astype(np.result_type(y, np.float32))

    def describe(self):
        return {"grid": self.grid, "weights": self.weights, "label": self.label}


@operation("acquire.test.spread")
def spread(raw: Acquisition) -> Image:
    """Spread the sums back over their columns."""
    return Image(
        raw.operator.adjoint(raw.samples),
        raw.operator.grid,
        raw.modality,
        provenance=raw.provenance,
        attributes=raw.attributes,
    )


@operation("acquire.test.scan")
def scan(image: Image) -> Acquisition:
    """Sum the columns of an image."""
    operator = ColumnSums(grid=image.grid, weights=np.ones(image.grid.shape[2]))
    return Acquisition(
        operator.forward(image.data.astype(np.float32)),
        operator,
        "CT",
        provenance=image.provenance,
        attributes=image.attributes,
    )


def acquisition(seed=0):
    rng = np.random.default_rng(seed)
    grid = Grid.from_spacing((2, 3, 4), (1.5, 0.5, 0.25))
    operator = ColumnSums(grid=grid, weights=rng.random(4), label="µ")
    return Acquisition(
        rng.normal(size=operator.range).astype(np.float32),
        operator,
        "CT",
        unit="{counts}",
        calibration={
            "flat": rng.random(operator.range).astype(np.float32),
            "noise": (rng.normal(size=5) + 1j).astype(np.complex64),
            "defects": rng.random(operator.range) > 0.5,
            "exposure": np.asarray(2.5),
        },
        provenance=Provenance((Source("raw", f"column sums {seed}"),)),
        attributes={"PatientName": "Raw^Data", "PatientID": "R1", "KVP": 120.0},
    )


def publish(monkeypatch):
    """Make the scan and the operations above known as if they were installed."""
    ours = registry._points
    named = {
        registry.OPERATORS: {ColumnSums.kind: "tests.scans:ColumnSums"},
        registry.OPERATIONS: {
            "acquire.test.spread": "tests.scans:spread",
            "acquire.test.scan": "tests.scans:scan",
        },
    }

    def points(group):
        extra = {n: EntryPoint(n, v, group) for n, v in named.get(group, {}).items()}
        return {**ours(group), **extra}

    monkeypatch.setattr(registry, "_points", points)
