"""Peers that live in a Python of their own, told what to do line by line.

antspyx holds NumPy and SciPy back, and itk-elastix wants one version of ITK and ends the process
when it gets another: each has its own venv, named by ``SOMASCOPE_ANTS_PYTHON`` and
``SOMASCOPE_ELASTIX_PYTHON``. Without it the peer is left out, which stderr says.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import IO, Any

import numpy as np

from benchmarks.register.case import Array, Mapping
from somascope.core import Image

VARIABLES = {"antspyx": "SOMASCOPE_ANTS_PYTHON", "itk-elastix": "SOMASCOPE_ELASTIX_PYTHON"}

LOOP = """
import json, os, sys
import numpy as np
out = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
def said(what):
    print(json.dumps(what), file=out, flush=True)
NAMES = ("fixed", "moving")
{peer}
for line in sys.stdin:
    asked = json.loads(line)
    if asked["verb"] == "register":
        loaded = dict(np.load(asked["path"]))
        kept = register(loaded, asked["how"])
    else:
        np.save(asked["path"], through(kept, np.load(asked["path"])))
    said({{}})
"""

ANTS = """
import ants, pandas
said({"version": ants.__version__})
def register(given, how):
    images = [ants.from_numpy(
        given[n].T, origin=given[n + "_origin"].tolist(), spacing=given[n + "_spacing"].tolist(),
        direction=given[n + "_direction"]) for n in NAMES]
    kind = "Rigid" if how == "rigid" else "SyN"
    return ants.registration(*images, type_of_transform=kind)["fwdtransforms"]
def through(found, points):
    names = list("xyz")[: points.shape[1]]
    frame = pandas.DataFrame(points, columns=names)
    return ants.apply_transforms_to_points(points.shape[1], frame, found)[names].to_numpy()
"""

ELASTIX = """
import itk
from importlib.metadata import version
from scipy.ndimage import map_coordinates
said({"version": version("itk-elastix")})
def image(given, name):
    made = itk.image_from_array(np.ascontiguousarray(given[name]))
    made.SetSpacing([float(v) for v in given[name + "_spacing"]])
    made.SetOrigin([float(v) for v in given[name + "_origin"]])
    made.SetDirection(itk.matrix_from_array(np.ascontiguousarray(given[name + "_direction"])))
    return made
def register(given, how):
    fixed, moving = (image(given, n) for n in NAMES)
    more = {"log_to_console": False, "number_of_threads": os.cpu_count()}
    if how == "rigid":
        chosen = itk.ParameterObject.New()
        chosen.AddParameterMap(chosen.GetDefaultParameterMap("rigid"))
        more["parameter_object"] = chosen
    _, found = itk.elastix_registration_method(fixed, moving, **more)
    return given, moving, found
def through(found, points):
    given, moving, maps = found
    field = itk.array_from_image(itk.transformix_deformation_field(moving, maps))
    turn = given["fixed_direction"] * given["fixed_spacing"]
    at = ((points - given["fixed_origin"]) @ np.linalg.inv(turn).T)[:, ::-1].T
    moved = [map_coordinates(field[..., i], at, order=1, mode="nearest")
             for i in range(points.shape[1])]
    return points + np.stack(moved, axis=-1)
"""

CHILDREN = {"antspyx": ANTS, "itk-elastix": ELASTIX}


class ChildEnded(Exception):
    """The peer's process is no more: it was killed by its own code."""


def python_of(package: str) -> str | None:
    """The interpreter that has a package, or None, said on stderr."""
    named = os.environ.get(VARIABLES[package])
    if named is None:
        print(f"register: {package} is left out ({VARIABLES[package]} is not set)", file=sys.stderr)
    return named


@cache
def _child(package: str) -> tuple[IO[str], IO[str], str]:
    """The other process: what it reads, what it says, its version of the package."""
    python = python_of(package)
    assert python is not None
    process = subprocess.Popen(
        [python, "-c", LOOP.format(peer=CHILDREN[package])], stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        env={**os.environ, "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": str(os.cpu_count())},
    )  # fmt: skip
    atexit.register(process.kill)
    assert process.stdin is not None
    assert process.stdout is not None
    first = process.stdout.readline()
    if not first:
        raise ChildEnded(f"{package} cannot be imported by {python} (SciPy is needed beside it)")
    return process.stdin, process.stdout, json.loads(first)["version"]


def version_apart(package: str) -> str:
    """Version of a package in its own Python."""
    return _child(package)[2]


def _asked(package: str, **question: Any) -> None:
    write, read, _ = _child(package)
    try:
        write.write(json.dumps(question) + "\n")
        write.flush()
        answered = bool(read.readline())
    except BrokenPipeError:
        answered = False
    if not answered:
        _child.cache_clear()  # the next question gets a new one
        raise ChildEnded(f"{package} ended while asked to {question['verb']}")


def apart(
    package: str,
    fixed: Image,
    moving: Image,
    how: str,
    other: bool,  # noqa: ARG001, FBT001
) -> Mapping:
    """The map that antspyx (Rigid, SyN) or itk-elastix (rigid, its stages to B-splines) finds.

    Both with their defaults: Mattes' information, whatever the contrasts.
    """
    from benchmarks.register.peers import Frame, between

    folder = Path(tempfile.mkdtemp(prefix="register"))
    given: dict[str, Array] = {}
    for name, image in (("fixed", fixed), ("moving", moving)):
        frame = Frame(image.grid)
        data, d = np.asarray(image.data, np.float32), frame.dimensions
        given[name] = data[0] if frame.flat else data
        given[f"{name}_spacing"] = np.asarray(image.grid.spacing)[::-1][:d]
        given[f"{name}_origin"] = np.zeros(2) if frame.flat else np.asarray(image.grid.origin)
        given[f"{name}_direction"] = np.eye(2) if frame.flat else image.grid.direction[:, ::-1]
    np.savez(folder / "pair.npz", **given)  # pyright: ignore[reportArgumentType]
    _asked(package, verb="register", path=str(folder / "pair.npz"), how=how)

    def own(points: Array) -> Array:
        np.save(folder / "points.npy", points)
        _asked(package, verb="points", path=str(folder / "points.npy"))
        return np.load(folder / "points.npy")

    return between(fixed, moving, own)
