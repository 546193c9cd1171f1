"""Images of every kind: our reader gives them back, our validator and dciodvfy find no fault."""

import shutil
import subprocess
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread

from somascope.core import Axis, Grid, Image, Mask, Provenance, Segment, Source, Step
from somascope.core.errors import WriteError
from somascope.io.dicom import iods, pm, seg, validate, write
from somascope.io.dicom.assemble import _LABEL_UNITS
from somascope.io.dicom.series import volumes

SHAPE = (3, 6, 8)
VOLUME = Grid.from_spacing(SHAPE, (3.0, 1.0, 2.0), origin=(-5.0, 6.0, 7.25))
FLAT = Grid.from_spacing((1, 6, 8), (1.0, 0.1, 0.2))
RECORD = Provenance((Source("dicom", "1.2.3", ("1.2.3.1", "1.2.3.2")),)).then(
    Step("process.gaussian", {"sigma": 1.5}, ("1.2.3",), "0.1")
)
TIMES = Axis("t", (0.0, 0.1, 0.2, 0.3, 0.5), "s")
EVEN = Axis("t", (0.0, 0.1, 0.2), "s")


def code(value, meaning):
    return [{"CodeValue": value, "CodingSchemeDesignator": "SCT", "CodeMeaning": meaning}]


TRACER = {
    "AdministrationRouteCodeSequence": code("47625008", "Intravenous route"),
    "RadionuclideCodeSequence": code("77004003", "^18^Fluorine"),
    "RadionuclideHalfLife": 6586.2,
    "RadionuclidePositronFraction": 0.97,
    "RadiopharmaceuticalCodeSequence": code("35321007", "Fluorodeoxyglucose F^18^"),
    "RadiopharmaceuticalStartDateTime": "20240101120000",
    "RadionuclideTotalDose": 1e8,
}
GRADIENTS = [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1.0]]


def make(modality, dtype, axes=(), *, sizes=(), grid=VOLUME, unit="1", top=4000, **attributes):
    rng = np.random.default_rng(11)
    data = rng.random((*sizes, *grid.shape)) * top
    if np.dtype(dtype) == np.int16:
        data -= top / 4
    return Image(
        data.astype(dtype),
        grid,
        modality,
        unit,
        axes=axes,
        provenance=RECORD,
        attributes={"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2", **attributes},
    )


CHANNEL = Axis("channel")
CASES = {
    "ct": make("CT", "i2", unit="[hnsf'U]"),
    "ct float": make("CT", "f4", unit="[hnsf'U]"),
    "ct time": make("CT", "i2", (TIMES,), sizes=(5,), unit="[hnsf'U]"),
    "mr": make("MR", "u2"),
    "mr unit": make("MR", "f4", unit="mm2/s", top=0.003),
    "mr echo": make("MR", "f4", (Axis("echo", (5.0, 10.0), "ms"),), sizes=(2,)),
    "mr echo time": make(
        "MR", "u2", (Axis("echo", (5.0, 10.0), "ms"), Axis("t", (0.0, 1.5), "s")), sizes=(2, 2)
    ),
    "mr b": make("MR", "u2", (Axis("b", (0.0, 500.0, 1000.0), "s/mm2"),), sizes=(3,)),
    "mr directions": make(
        "MR",
        "u2",
        (Axis("b", (0.0, 1000.0, 1000.0, 1000.0), "s/mm2"),),
        sizes=(4,),
        DiffusionGradientOrientation=GRADIENTS,
    ),
    "mr flip": make("MR", "u2", (Axis("flip", (5.0, 10.0), "deg"),), sizes=(2,)),
    "pt": make("PT", "f4", unit="Bq/ml"),
    "pt dynamic": make("PT", "f4", (EVEN,), sizes=(3,), unit="g/ml"),
    "pt tracer": make(
        "PT",
        "f4",
        (TIMES,),
        sizes=(5,),
        unit="g/ml",
        RadiopharmaceuticalInformationSequence=[TRACER],
        DecayCorrection="START",
        AcquisitionDate="20240101",
        PatientPosition="HFS",
    ),
    "nm": make("NM", "f4", unit="{counts}"),
    "nm flat": make("NM", "u2", grid=FLAT),
    "nm time": make("NM", "u2", (TIMES,), sizes=(5,)),
    "nm flat time": make("NM", "u2", (TIMES,), sizes=(5,), grid=FLAT),
    "nm energy view": make(
        "NM", "u2", (Axis("energy", (1, 2)), Axis("view", (1, 2, 3))), sizes=(2, 3), grid=FLAT
    ),
    "nm detector": make("NM", "u2", (Axis("detector", (1, 2)),), sizes=(2,), grid=FLAT),
    "nm rotation": make("NM", "u2", (Axis("rotation", (1, 2)),), sizes=(2,), grid=FLAT),
    "nm phase": make("NM", "u2", (Axis("phase", (1, 2)),), sizes=(2,), grid=FLAT),
    "nm gated": make(
        "NM", "u2", (Axis("rr", (1, 2)), Axis("timeslot", (1, 2, 3))), sizes=(2, 3), grid=FLAT
    ),
    "nm gated volume": make("NM", "f4", (Axis("timeslot", (1, 2, 3)),), sizes=(3,)),
    "ct kvp": make("CT", "i2", (Axis("kvp", (80.0, 140.0), "kV"),), sizes=(2,), unit="[hnsf'U]"),
    "mr ti": make("MR", "u2", (Axis("ti", (50.0, 400.0), "ms"),), sizes=(2,)),
    "rf frames": make("RF", "u1", (Axis("frame"),), sizes=(4,), grid=FLAT, top=255),
    "us": make("US", "u1", grid=FLAT, top=255),
    "us film": make("US", "u1", (EVEN, CHANNEL), sizes=(3, 3), grid=FLAT, top=255),
    "us volume": make("US", "f4"),
    "dx": make("DX", "u2", grid=FLAT),
    "dx float": make("DX", "f4", grid=FLAT),
    "cr": make("CR", "f4", grid=FLAT, top=1),
    "other": make("OT", "f4"),
    "other bool": make("OT", "?"),
    "mg": make("MG", "u2", grid=FLAT),
    "xa film": make("XA", "u1", (TIMES,), sizes=(5,), grid=FLAT, top=255),
    "colour": make("OT", "u1", (CHANNEL,), sizes=(3,), grid=FLAT, top=255),
    "colour 16": make("OT", "u2", (CHANNEL,), sizes=(3,), grid=FLAT),
    "colour volume": make("CT", "u1", (CHANNEL,), sizes=(3,), top=255),
    "colour film": make("ES", "u1", (TIMES, CHANNEL), sizes=(5, 3), grid=FLAT, top=255),
}


def half_step(image):
    if image.data.dtype.kind in "biu":
        return 0.0
    data = image.data.astype(float)
    spread = data.max() if image.modality == "PT" else np.ptp(data)
    return spread / 65535 / 2 + np.abs(data).max() * 2**-23  # the reader gives float32


@pytest.mark.parametrize("multiframe", [False, True], ids=["single", "multi"])
@pytest.mark.parametrize("case", CASES)
def test_our_reader_gives_it_back(case, multiframe):
    image = CASES[case]
    files = write.instances(image, multiframe=multiframe)
    assert [p for f in files for p in validate.check(f)] == []
    found, problems = volumes(files)
    assert problems == []
    (back,) = found
    assert back.axes == image.axes
    assert (back.unit, back.modality) == (image.unit, image.modality)
    assert back.grid.allclose(image.grid, tolerance_mm=1e-6)
    assert np.abs(back.data.astype(float) - image.data).max() <= half_step(image)


def test_gated_nuclear_phases_are_kept_as_counted_times():
    image = make("NM", "u2", (Axis("phase"),), sizes=(4,))
    (back,), _ = volumes(write.instances(image))
    assert back.axes[0].name == "t"
    assert np.array_equal(back.data, image.data)


def test_times_and_vectors_of_nuclear_images_go_together():
    axes = (Axis("phase", (1, 2)), TIMES)
    image = make("NM", "u2", axes, sizes=(2, 5), grid=FLAT)
    files = write.instances(image)
    assert len(files) == 5  # a time each, its phases within
    (back,), _ = volumes(files)
    assert {a.name: a.values for a in back.axes} == {a.name: a.values for a in axes}
    order = [[a.name for a in back.axes].index(a.name) for a in axes]
    assert np.array_equal(back.data.transpose(*order, 2, 3, 4), image.data)


def test_every_axis_the_reader_makes_is_written_or_refused_with_a_remedy():
    made = set(_LABEL_UNITS) | {"t", "frame", "channel"}
    assert made == {a.name for image in CASES.values() for a in image.axes}
    for name in ("energy", "detector", "rotation", "view"):
        deep = make("NM", "u2", (Axis(name, (1, 2)),), sizes=(2,))
        with pytest.raises(WriteError, match=rf"image\.at\({name}=0\)"):
            write.instances(deep)
        for file in write.instances(deep.at(**{name: 1})):
            assert validate.check(file) == []


def test_a_left_handed_nuclear_volume_is_turned_not_mirrored():
    affine = VOLUME.affine.copy()
    affine[:3, 0] *= -1
    image = make("NM", "u2", grid=Grid(SHAPE, affine))
    (back,), _ = volumes(write.instances(image))
    assert back.grid.origin[2] == pytest.approx(7.25 - 6)
    assert np.array_equal(back.data, image.data[::-1])


def test_what_our_reader_read_is_written_again(pydicom_files):
    for name in ("CT_small.dcm", "MR_small.dcm", "examples_ybr_color.dcm", "rtdose_rle.dcm"):
        (first,), _ = volumes([pydicom_files / name])
        files = write.instances(first)
        (again,), _ = volumes(files)
        assert again.shape == first.shape
        assert np.abs(again.data.astype(float) - first.data).max() <= half_step(first)
        made = dcmread(BytesIO(files[0]))
        assert made.PatientID == (first.attributes.get("PatientID") or made.PatientID)
        assert made.StudyInstanceUID == first.attributes["StudyInstanceUID"]


def others():
    image = CASES["ct"]
    data = (image.data > 0).astype(np.uint8)
    mask = Mask(data=data, grid=VOLUME, segments=(Segment(1, "a"),), provenance=RECORD)
    sources = write.instances(image)
    yield "seg", seg.instances(mask)[0]
    yield "seg sources", seg.instances(mask, sources)[0]
    yield "seg fractional", seg.instances(mask, sources, kind="fractional")[0]
    yield "pm", pm.instances(CASES["mr unit"])[0]
    yield "pm time", pm.instances(CASES["pt dynamic"])[0]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy (dicom3tools) is not here")
def test_dciodvfy_finds_no_error(tmp_path):
    made = [
        (f"{case} {multiframe}", write.instances(image, multiframe=multiframe)[-1])
        for case, image in CASES.items()
        for multiframe in (False, True)
    ]
    said = {}
    for name, file in [*made, *others()]:
        path = tmp_path / "it.dcm"
        path.write_bytes(file)
        run = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, timeout=60)
        errors = [line for line in run.stderr.splitlines() if line.startswith("Error")]
        if errors:
            said[name] = errors
    assert said == {}


def test_sequences_that_lack_something_are_mended_or_left_out():
    partly = {**TRACER, "RadionuclideCodeSequence": [{"CodeValue": "77004003"}]}
    bare = {"RadionuclideTotalDose": 1e8}
    for items, kept in (([bare], True), ([partly], False)):
        image = make("PT", "f4", unit="Bq/ml", RadiopharmaceuticalInformationSequence=items)
        file = write.instances(image)[0]
        assert validate.check(file) == []
        dataset = dcmread(BytesIO(file))
        assert bool(dataset.RadiopharmaceuticalInformationSequence) == kept
        if kept:
            assert "RadionuclideCodeSequence" in dataset.RadiopharmaceuticalInformationSequence[0]


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**40), 2**40),
    st.floats(),
    st.text(max_size=80),
    st.lists(st.one_of(st.floats(), st.text(max_size=20)), max_size=4),
    st.dictionaries(st.text(max_size=5), st.integers(), max_size=2),
    st.sampled_from(["20240102", "120000", "1.2.3", "ORIGINAL\\PRIMARY", "042Y", "01", "YES"]),
)
KINDS = ("CT", "MR", "PT", "NM", "DX", "OT")
KEYWORDS = sorted(set().union(*(iods.known(k.iod) for k in iods.KINDS.values())))


@settings(max_examples=20, deadline=None)
@given(
    st.dictionaries(st.sampled_from(KEYWORDS), VALUES, min_size=3, max_size=25),
    st.sampled_from(KINDS),
    st.booleans(),
)
def test_whatever_the_attributes_say_the_result_is_valid(attributes, modality, multiframe):
    data = np.random.default_rng(0).integers(0, 50, (1, 2, 3)).astype(np.uint16)
    grid = Grid.from_spacing((1, 2, 3), (1, 1, 1))
    image = Image(data, grid, modality, provenance=RECORD, attributes=attributes)
    for file in write.instances(image, multiframe=multiframe):
        assert validate.check(file) == []


@pytest.mark.parametrize("modality", ["DX", "CR", "US", "XA"])
def test_monochrome1_stays_and_so_do_the_values(modality):
    dtype = "u1" if modality == "US" else "u2"
    image = make(modality, dtype, grid=FLAT, top=200, PhotometricInterpretation="MONOCHROME1")
    (file,) = write.instances(image)
    made = dcmread(BytesIO(file))
    assert made.PhotometricInterpretation == "MONOCHROME1"
    assert made.get("PresentationLUTShape", "INVERSE") == "INVERSE"
    assert np.array_equal(made.pixel_array, image.data[0])
    (read,), _ = volumes([file])
    assert read.attributes["PhotometricInterpretation"] == "MONOCHROME1"
    assert np.array_equal(read.data, image.data)
    (again,) = write.instances(read)  # what was read is shown the same way
    assert dcmread(BytesIO(again)).PhotometricInterpretation == "MONOCHROME1"
    assert validate.check(again) == []


def test_colour_says_nothing_of_monochrome(pydicom_files):
    (image,), _ = volumes([pydicom_files / "examples_palette.dcm"])
    assert "PhotometricInterpretation" not in image.attributes


def test_dose_and_detector_of_a_radiograph_come_back():
    from somascope import phantoms

    told = {
        "ExposureIndex": 251.5,
        "TargetExposureIndex": 250.0,
        "DeviationIndex": 0.1,
        "Sensitivity": 400.0,
        "DetectorType": "SCINTILLATOR",
        "FilterMaterial": "ALUMINUM",
        "CollimatorShape": "RECTANGULAR",
        "CollimatorLeftVerticalEdge": 12,
    }
    film = phantoms.thorax_dx()
    made = write.instances(replace(film, attributes={**film.attributes, **told}))
    (image,), _ = volumes(made)
    back = {k: image.attributes.get(k) for k in told}
    assert back == told
