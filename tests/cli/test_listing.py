"""Listing is cheap: no numerical library is loaded for it, and it says what the operations say."""

import subprocess
import sys

import pytest

from somascope.cli import listing
from somascope.core.registry import get_operation, operation_names

HEAVY = (
    "numba", "scipy", "nibabel", "pydicom", "highdicom", "pynetdicom", "torch", "triton", "ray",
    "h5py", "PIL", "sqlalchemy", "fastapi", "uvicorn", "onnxruntime", "skimage", "SimpleITK",
)  # fmt: skip
"""Not one of these may be loaded by help or by listing; NumPy may."""


def loaded_by(*arguments: str) -> tuple[str, set[str]]:
    """What the command printed, and the top-level modules that its process had loaded."""
    code = (
        "import sys; from somascope.cli import main\n"
        "try:\n    main()\n"
        "finally:\n"
        "    print('loaded', *{m.partition('.')[0] for m in sys.modules}, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False,
        timeout=300,
    )  # fmt: skip
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("loaded "), done.stderr
    return done.stdout, set(last.split()[1:])


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [(("--help",), "operations"), (("operations",), "process.gaussian"), (("run", "--help"), "-o")],
)
def test_nothing_heavy_is_loaded(arguments, expected):
    printed, modules = loaded_by(*arguments)
    assert expected in printed
    assert not modules & set(HEAVY)


def test_it_says_what_the_operations_say():
    found = listing.summaries()
    assert list(found) == operation_names()
    for name, summary in found.items():
        assert summary == get_operation(name).summary
        assert name == get_operation(name).name


def test_what_is_no_function_in_a_file_is_asked(monkeypatch):
    monkeypatch.setattr(listing, "_source", lambda module: "")
    monkeypatch.setattr(listing, "operation_names", lambda: ["process.gaussian"])
    assert listing.summaries()["process.gaussian"] == get_operation("process.gaussian").summary
    monkeypatch.undo()
    assert listing._file("somascope_without_such_a_package.x") is None
    assert listing._file("somascope.no_such_module") is None
    assert listing._file("json").name == "__init__.py"
