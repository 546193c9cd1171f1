"""The command line as a stranger uses it: real processes, real files, exit codes."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from somascope.core import Grid, Image


def somascope(*args: object, check: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "somascope.cli", *map(str, args)],
        capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    if check:
        assert done.returncode == 0, done.stderr
    return done


@pytest.fixture
def volume() -> Image:
    rng = np.random.default_rng(7)
    data = rng.integers(-200, 400, (6, 20, 24), dtype=np.int16)
    data[:3, 5:10, 5:10] = 900
    grid = Grid.from_spacing((6, 20, 24), (2.5, 0.75, 0.75), origin=(10.0, -20.0, 30.0))
    return Image(data, grid, "CT", "[hnsf'U]")


def test_help_is_quick_and_imports_nothing_heavy():
    code = (
        "import sys; sys.argv=['somascope','--help']\n"
        "from somascope.cli import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "heavy={'numpy','numba','scipy','pydicom','pynetdicom','highdicom','fastapi','sqlalchemy','skimage','torch','nibabel'}\n"
        "print('HEAVY', sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert "HEAVY []" in done.stdout, done.stdout + done.stderr
    seconds = []  # of processor time, which a busy neighbour does not change
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        somascope("--help")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(seconds) < 0.5


def test_operations_lists_names_and_schemas():
    schemas = json.loads(somascope("operations", "--json").stdout)
    by_name = {s["name"]: s for s in schemas}
    sigma = by_name["process.gaussian"]["params"]["properties"]
    assert any(p.get("unit") == "mm" for p in sigma.values())
    assert "process.gaussian" in somascope("operations").stdout


def test_doctor_reports_every_part():
    report = json.loads(somascope("doctor", "--json", check=False).stdout)
    states = {c["name"]: c["state"] for c in report["checks"]}
    for name in ("numpy", "codecs", "kernels", "database", "operations"):
        assert states[name] == "ok", report


def test_convert_and_run_on_files(tmp_path: Path, volume: Image):
    from somascope.io import read, write

    source = tmp_path / "ct.nii.gz"
    write(volume, source)
    somascope("convert", source, tmp_path / "ct.nrrd")
    back = read(tmp_path / "ct.nrrd")
    assert isinstance(back, Image)
    assert np.array_equal(back.data, volume.data)
    assert back.grid.allclose(volume.grid, tolerance_mm=1e-4)

    somascope("run", "process.gaussian", source, "-o", tmp_path / "smooth.nii.gz", "--sigma", "1.5")
    smooth = read(tmp_path / "smooth.nii.gz")
    assert isinstance(smooth, Image)
    assert smooth.grid.allclose(volume.grid, tolerance_mm=1e-3)
    assert smooth.data.std() < 0.8 * volume.data.std()


def test_run_on_a_dicom_folder_makes_a_dicom_folder(tmp_path: Path, volume: Image):
    import pydicom

    from somascope.io import read, write

    write(volume, tmp_path / "series")
    somascope(
        "run",
        "process.resample",
        tmp_path / "series",
        "-o",
        tmp_path / "out",
        "--spacing",
        "1.5,1.5,1.5",
    )
    result = read(tmp_path / "out")
    assert isinstance(result, Image)
    assert result.grid.spacing == pytest.approx((1.5, 1.5, 1.5))
    first = pydicom.dcmread(next((tmp_path / "out").glob("*.dcm")))
    assert first.Modality == "CT"
    assert "DERIVED" in first.ImageType


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (["run", "process.nothing", "x", "-o", "y"], 1, "no operation"),
        (["run", "process.gaussian", "x.nii", "-o", "y.nii", "--sigmoid", "3"], 2, "no parameter"),
        (["run", "process.gaussian", "x.nii", "-o", "y.nii", "--sigma", "minus"], 2, "sigma"),
        (["run", "process.gaussian", "absent.nii", "-o", "y.nii"], 1, "absent.nii"),
        (["run", "process.gaussian", "x.nii"], 2, "-o"),
        (["convert", "absent.nii", "y.nii"], 1, "absent.nii"),
    ],
)
def test_a_mistake_is_one_clear_line(args: list[str], code: int, words: str, tmp_path: Path):
    done = subprocess.run(
        [sys.executable, "-m", "somascope.cli", *args],
        capture_output=True, text=True, cwd=tmp_path, timeout=60,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_import_lists_what_is_refused_and_export_gives_it_back(tmp_path: Path, volume: Image):
    from somascope.io import read, write

    write(volume, tmp_path / "in" / "series")
    write(volume, tmp_path / "in" / "also.nii.gz")
    (tmp_path / "in" / "broken.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"junk" * 9)
    (tmp_path / "in" / "letter.txt").write_text("dear archive")
    out = json.loads(somascope("import", tmp_path / "a", tmp_path / "in", "--json").stdout)
    assert out["stored"] == 12
    assert out["converted"] == ["also.nii.gz"]
    assert {r["name"].split("/")[-1] for r in out["refused"]} == {"broken.dcm", "letter.txt"}
    again = json.loads(
        somascope("import", tmp_path / "a", tmp_path / "in" / "series", "--json").stdout
    )
    assert (again["stored"], again["duplicates"]) == (0, 6)

    original = read(tmp_path / "in" / "series")
    assert isinstance(original, Image)
    uid = original.attributes["SeriesInstanceUID"]
    somascope("export", tmp_path / "a", uid, "-o", tmp_path / "back")
    assert len(list((tmp_path / "back").glob("*.dcm"))) == 6
    somascope("export", tmp_path / "a", uid, "-o", tmp_path / "back.nii.gz")
    volume_again = read(tmp_path / "back.nii.gz")
    assert isinstance(volume_again, Image)
    assert np.array_equal(volume_again.data, volume.data)


def test_run_in_the_archive_stores_and_replays(tmp_path: Path, volume: Image):
    from somascope.io import read, write

    write(volume, tmp_path / "in")
    somascope("import", tmp_path / "a", tmp_path / "in")
    original = read(tmp_path / "in")
    assert isinstance(original, Image)
    uid = original.attributes["SeriesInstanceUID"]
    out = somascope("run", "process.clahe", uid, "--archive", tmp_path / "a", "--json")
    (result,) = json.loads(out.stdout)["outputs"]
    assert result != uid
    report = json.loads(somascope("replay", result, "--archive", tmp_path / "a", "--json").stdout)
    assert report["identical"] is True
