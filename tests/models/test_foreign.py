"""Models of others: the same answer in the patient as theirs, and what is refused, by name."""

import copy
import json
import shutil

import nibabel
import numpy as np
import pytest
from typer.testing import CliRunner

from somascope.cli.app import app
from somascope.core import Grid, Image
from somascope.core.errors import CorruptFile, NotFound, ParameterError, Refused, SomascopeError
from somascope.io import read, write
from somascope.models import Network, installed, load, onnxfile
from somascope.models.foreign import Told, finished, taken
from somascope.models.foreign.told import turns
from tests.models import evil, foreign, graphs

PLAIN = Told(task="segment", scaling="none", name="segment.sided", modalities=("MR",))


def scan(tmp_path, sizes=foreign.SIZES, *, gain=1.0, shift=0.0, modality="MR"):
    """A volume stored in a turned way; ``sizes`` along right, front, head."""
    x, y, z = sizes
    values = np.random.default_rng(0).random((x, z, y)).astype(np.float32) * gain + shift
    # Array axes: to the left, to the feet, to the front.
    affine = np.eye(4)
    affine[:3, :3] = np.array([[1, 0, 0], [0, 0, -1], [0, -1, 0]])  # columns in L P S
    image = Image(values, Grid(values.shape, affine), modality)
    write(image, tmp_path / "scan.nii.gz")
    return image


def canonical(path):
    """Right, front, head: the array that others see after their orientation to RAS."""
    return nibabel.as_closest_canonical(nibabel.load(path)).get_fdata()


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_axes_of_others_are_the_patients(tmp_path, axis):
    image = scan(tmp_path)
    (tmp_path / "net.onnx").write_bytes(foreign.sided(axis=axis).SerializeToString())
    packed = finished(taken(tmp_path / "net.onnx", Told(axes="RAS").over(PLAIN)))
    assert packed.card.preparation.orient
    assert packed.card.patch == foreign.SIZES[::-1]
    for kind in ("onnxruntime", "openvino"):
        if kind == "openvino":
            pytest.importorskip("openvino")
        (mask,) = Network(packed, kind=kind, threads=1)(image)
        write(mask, tmp_path / "mask.nii.gz")
        truth = foreign.wanted(canonical(tmp_path / "scan.nii.gz"), axis=axis)
        assert 0.2 < truth.mean() < 0.8
        assert np.array_equal(canonical(tmp_path / "mask.nii.gz") > 0, truth)


@pytest.mark.parametrize(("axes", "turned"), [("zyx", (0, 1, 2)), ("xyz", (2, 1, 0))])
def test_axes_as_stored(tmp_path, axes, turned):
    values = np.random.default_rng(0).random((9, 7, 5)).astype(np.float32)
    image = Image(values, Grid.from_spacing(values.shape, (1, 1, 1)), "MR")
    sizes = tuple(values.shape[a] for a in turned)
    (tmp_path / "net.onnx").write_bytes(foreign.sided(sizes=sizes).SerializeToString())
    packed = finished(taken(tmp_path / "net.onnx", Told(axes=axes).over(PLAIN)))
    (mask,) = Network(packed, kind="onnxruntime", threads=1)(image)
    truth = foreign.wanted(values.transpose(turned))
    assert np.array_equal(mask.data.transpose(turned) > 0, truth)


@pytest.mark.parametrize("answer", ["logits", "probabilities", "sigmoid", "probability"])
def test_answers_of_every_kind_become_probabilities(tmp_path, answer):
    values = np.random.default_rng(0).random(foreign.SIZES).astype(np.float32)
    image = Image(values, Grid.from_spacing(values.shape, (1, 1, 1)), "MR")
    made = foreign.sided(activation=answer)
    (tmp_path / "net.onnx").write_bytes(made.SerializeToString())
    packed = finished(taken(tmp_path / "net.onnx", Told(answer=answer).over(PLAIN)))
    from somascope.models import segment

    net = Network(packed, kind="onnxruntime", threads=1)
    _, p = segment.answer(net.card, net.engine, image, probabilities=True)
    ramp = np.linspace(0, 1, values.shape[0]).reshape(-1, 1, 1)
    truth = 1 / (1 + np.exp(-10 * (values + ramp - 1)))
    assert np.abs(p[0] - truth).max() < 2e-3  # bands are float16


def test_a_monai_bundle_is_read_not_run(tmp_path):
    made = foreign.sided()
    folder = foreign.bundle(tmp_path / "bright", made)
    packed = finished(taken(folder, Told(name="segment.b")))
    card = packed.card
    assert (card.task, card.modalities, card.version) == ("segment", ("MR",), "0.3.1")
    assert [c.name for c in card.classes] == ["bright"]
    assert (card.patch, card.overlap) == (foreign.SIZES[::-1], 0.25)
    assert (card.preparation.low, card.preparation.high) == (-100.0, 100.0)
    assert card.licence == "Apache-2.0"
    image = scan(tmp_path, gain=300.0, shift=-150.0)
    (mask,) = Network(packed, kind="onnxruntime", threads=1)(image)
    write(mask, tmp_path / "mask.nii.gz")
    seen = canonical(tmp_path / "scan.nii.gz").clip(-100, 100) / 100  # their transform by hand
    assert np.array_equal(canonical(tmp_path / "mask.nii.gz") > 0, foreign.wanted(seen))
    shutil.make_archive(str(tmp_path / "zipped"), "zip", tmp_path, "bright")
    again = finished(taken(tmp_path / "zipped.zip", Told(name="segment.b")))
    assert again.graph == packed.graph


def changed(record, path, value):
    made = copy.deepcopy(record)
    at = made
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    return made


STEP = ("preprocessing", "transforms", 3)
WRONG_BUNDLES = {
    "nonzero": (STEP, {"_target_": "NormalizeIntensityd", "nonzero": True}, "not zero"),
    "unknown": (STEP, {"_target_": "my.own.Code"}, "Code"),
    "expression": (STEP, {"_target_": "Spacingd", "pixdim": "$os.remove('/')"}, "not evaluated"),
    "ring": (("roi",), "@roi", "without end"),
    "twice": ((*STEP[:2], 4), {"_target_": "NormalizeIntensityd"}, "after another step"),
    "without a name": (STEP, {"keys": "image"}, "without a name"),
}


@pytest.mark.parametrize("name", WRONG_BUNDLES)
def test_bundles_that_are_not_understood(name, tmp_path):
    path, value, said = WRONG_BUNDLES[name]
    settings = changed(foreign.INFERENCE, path, value)
    folder = foreign.bundle(tmp_path / "b", foreign.sided(), inference=settings)
    with pytest.raises(Refused, match=said):
        taken(folder)


def leaves(record, path=()):
    """Every place in JSON."""
    if path:
        yield path
    items = (
        record.items() if isinstance(record, dict)
        else enumerate(record) if isinstance(record, list) else ()
    )  # fmt: skip
    for key, value in items:
        yield from leaves(value, (*path, key))


@pytest.mark.parametrize("odd", [None, -1, "x", [], {}, float("nan"), 1e999, [[1]], True])
def test_settings_with_nonsense_anywhere_are_taken_or_refused_in_words(odd, tmp_path):
    """Whatever stands anywhere: a model, or an error of ours that says something; no crash."""
    bundle = foreign.bundle(tmp_path / "b", b"x")
    plans = foreign.nnunet(tmp_path / "n__3d_lowres", b"x")
    count, said = 0, []
    for folder, name, record in (
        (bundle, "configs/metadata.json", foreign.METADATA),
        (bundle, "configs/inference.json", foreign.INFERENCE),
        (plans, "plans.json", foreign.PLANS), (plans, "dataset.json", foreign.DATASET),
    ):  # fmt: skip
        good = (folder / name).read_text()
        for path in leaves(record):
            (folder / name).write_text(json.dumps(changed(record, path, odd)))
            count += 1
            try:
                found = taken(folder)
                found.told.over(Told(dimensions=3, channels=1)).check()
            except SomascopeError as error:
                said.append(str(error))
        (folder / name).write_text(good)
    assert count > 100
    assert len(said) > 10
    assert min(map(len, said)) > 20


def test_a_user_who_knows_better_is_right(tmp_path):
    step = {"_target_": "NormalizeIntensityd", "nonzero": True}
    settings = changed(foreign.INFERENCE, STEP, step)
    folder = foreign.bundle(tmp_path / "b", foreign.sided(), inference=settings)
    told = Told(scaling="zscore", classes=("thing",), licence="MIT")
    card = finished(taken(folder, told)).card
    assert (card.preparation.scaling, card.classes[0].name, card.licence) == (
        "zscore", "thing", "MIT",
    )  # fmt: skip


def test_references_do_not_unfold_without_end(tmp_path):
    settings = copy.deepcopy(foreign.INFERENCE)
    for k in range(12):
        settings[f"l{k}"] = [f"@l{k + 1}"] * 10
    settings["preprocessing"] = "@l0"
    folder = foreign.bundle(tmp_path / "b", foreign.sided(), inference=settings)
    with pytest.raises(Refused, match="without end"):
        taken(folder)


@pytest.mark.parametrize("name", ["model.pt", "model.ts", "model.pth", "weights.ckpt"])
def test_pickles_are_refused_with_the_remedy(name, tmp_path):
    import pickle  # noqa: TID251  the enemy

    data = pickle.dumps(evil.Bomb(evil.CANARY))
    folder = foreign.bundle(tmp_path / "b", data, name=name)
    net = foreign.nnunet(tmp_path / "n__3d_fullres", data, name=name)
    (tmp_path / name).write_bytes(data)
    for path in (folder, net, tmp_path / name):
        with pytest.raises(Refused, match=r"pickle.*safetensors"):
            taken(path, PLAIN)
        run = CliRunner().invoke(app, ["model", "import", str(path)])
        assert run.exit_code != 0
        assert "pickle" in str(run.exception)
    assert not evil.CANARY.exists()


def test_an_nnunet_folder_with_its_graph(tmp_path):
    name = "nnUNetTrainer__nnUNetPlans__3d_fullres"
    folder = foreign.nnunet(tmp_path / name, foreign.sided())
    packed = finished(taken(folder))
    card = packed.card
    assert card.name == "segment.dataset900_bright"
    assert (card.modalities, card.patch) == (("CT",), foreign.SIZES)
    assert card.preparation.spacing == (1.0, 1.0, 1.0)
    assert not card.preparation.orient
    values = np.random.default_rng(0).normal(40, 60, foreign.SIZES).astype(np.float32)
    image = Image(values, Grid.from_spacing(values.shape, (1, 1, 1)), "CT")
    (mask,) = Network(packed, kind="onnxruntime", threads=1)(image)
    assert np.array_equal(mask.data > 0, foreign.wanted((values.clip(-100, 100) - 40) / 20))
    low = foreign.nnunet(tmp_path / "x__3d_lowres", foreign.sided())
    assert finished(taken(low)).card.preparation.spacing == (4.0, 4.0, 4.0)


FULL = ("configurations", "3d_fullres")
WRONG_PLANS = {
    "regions": (None, ("labels",), {"background": 0, "whole": [1, 2]}, Refused, "overlap"),
    "channels": (None, ("channel_names",), {"0": "T1", "1": "T2"}, Refused, "2 images"),
    "scaling": ((*FULL, "normalization_schemes"), None, ["RGBTo01Normalization"], Refused, "RGB"),
    "mask": ((*FULL, "normalization_schemes"), None, ["ZScoreNormalization"], None, ""),
    "turned": (("transpose_forward",), None, [1, 0, 2], Refused, "turned"),
    "no patch": ((*FULL, "patch_size"), None, None, CorruptFile, "incomplete"),
    "ring": ((*FULL, "inherits_from"), None, "3d_lowres", Refused, "inherit"),
    "no plans": (("configurations",), None, {}, ParameterError, "configuration"),
}


@pytest.mark.parametrize("name", WRONG_PLANS)
def test_plans_that_are_not_run_here(name, tmp_path):
    plan, dataset, value, kind, said = WRONG_PLANS[name]
    folder = foreign.nnunet(
        tmp_path / "n__3d_lowres", foreign.sided(),
        plans=changed(foreign.PLANS, plan, value) if plan else foreign.PLANS,
        dataset=changed(foreign.DATASET, dataset, value) if dataset else foreign.DATASET,
    )  # fmt: skip
    if kind is None:
        assert any("zero" in one for one in finished(taken(folder)).card.limits)
        return
    with pytest.raises(kind, match=said):
        taken(folder)


def test_half_a_folder(tmp_path):
    folder = foreign.nnunet(tmp_path / "n", foreign.sided())
    (folder / "plans.json").unlink()
    with pytest.raises(CorruptFile, match=r"plans\.json"):
        taken(folder)
    (folder / "plans.json").write_text("[" * 100_000)
    with pytest.raises(CorruptFile, match="not JSON"):
        taken(folder)
    (tmp_path / "empty").mkdir()
    with pytest.raises(Refused, match="no model that is known"):
        taken(tmp_path / "empty")
    with pytest.raises(NotFound, match="no file"):
        taken(tmp_path / "nothing")


def test_damaged_archives_and_giant_tiles_are_errors_of_ours(tmp_path):
    from zipfile import ZIP_DEFLATED, ZipFile

    with ZipFile(tmp_path / "a.zip", "w", ZIP_DEFLATED) as made:
        made.writestr("plans.json", json.dumps(foreign.PLANS))
        made.writestr("dataset.json", json.dumps(foreign.DATASET))
    data = bytearray((tmp_path / "a.zip").read_bytes())
    at = data.index(b"plans.json") + len("plans.json")
    data[at : at + 60] = b"\xff" * 60
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(CorruptFile, match="damaged"):
        taken(tmp_path / "a.zip")
    with ZipFile(tmp_path / "b.zip", "w") as made:
        made.writestr(".", "x")
    with pytest.raises(Refused, match="outside itself"):
        taken(tmp_path / "b.zip")
    w = graphs.weight("w", np.ones((2, 1, 1, 1, 1)))
    node = graphs.onnx.helper.make_node("Conv", ["x", "w"], ["y"])
    edges = [1, 1, "a", "b", "c"]
    free = graphs.model([node], inputs={"x": edges}, outputs={"y": [1, 2, "a", "b", "c"]},
                        weights=[w])  # fmt: skip
    (tmp_path / "net.onnx").write_bytes(free.SerializeToString())
    with pytest.raises(Refused, match="more than"):
        finished(taken(tmp_path / "net.onnx", Told(patch=(10**5,) * 3).over(PLAIN)))


def test_a_users_scaling_is_whole(tmp_path):
    folder = foreign.nnunet(tmp_path / "n__3d_fullres", foreign.sided())
    told = taken(folder, Told(scaling="zscore")).told
    assert (told.scaling, told.gain, told.shift, told.low) == ("zscore", None, None, None)


@pytest.mark.parametrize("name", evil.GRAPHS)
def test_evil_graphs_stay_out(name, tmp_path):
    (tmp_path / "net.onnx").write_bytes(evil.GRAPHS[name]())
    with pytest.raises((Refused, CorruptFile)):
        finished(taken(tmp_path / "net.onnx", PLAIN))


def wrong_words():
    yield Told(task=None, scaling="none"), "--task"
    yield Told(task="execute", scaling="none"), "execute"
    yield Told(task="segment"), "--scaling"
    yield Told(axes="RAX").over(PLAIN), "axes is 'RAX'"
    yield Told(axes="RLS").over(PLAIN), "axes is 'RLS'"
    yield Told(answer="loud").over(PLAIN), "answer is 'loud'"
    yield Told(patch=(8, 8)).over(PLAIN), "patch is"
    yield Told(patch=(8, 8, 8)).over(PLAIN), "the graph takes"
    yield Told(dimensions=2).over(PLAIN), "dimensions is 2"
    yield Told(channels=3).over(PLAIN), "channels is 3"
    yield Told(classes=("a", "b")).over(PLAIN), "2 classes are named"
    yield Told(output="nothing").over(PLAIN), "no output 'nothing'"
    yield Told(task="classify", scaling="none"), "no answer of a model to classify"
    yield Told(spacing=(1.0, 0.0, 1.0)).over(PLAIN), "spacing is"
    yield Told(low=3.0, high=1.0, scaling="range").over(PLAIN), "no range"


@pytest.mark.parametrize(("told", "said"), list(wrong_words()))
def test_what_is_missing_or_wrong_is_named(told, said, tmp_path):
    (tmp_path / "net.onnx").write_bytes(foreign.sided().SerializeToString())
    with pytest.raises((ParameterError, Refused), match=said):
        finished(taken(tmp_path / "net.onnx", told))


def test_old_graphs_several_inputs_and_other_files(tmp_path):
    path = tmp_path / "net.onnx"
    path.write_bytes(foreign.sided(opset=11).SerializeToString())
    with pytest.raises(Refused, match="operator set 11"):
        finished(taken(path, PLAIN))
    path.write_bytes(graphs.mover().SerializeToString())
    with pytest.raises(Refused, match="2 inputs"):
        finished(taken(path, PLAIN))
    for name, said in (("a.h5", "convert it to ONNX"), ("a.txt", "no model that is known")):
        (tmp_path / name).write_bytes(b"x")
        with pytest.raises(Refused, match=said):
            taken(tmp_path / name)
    (tmp_path / "a.safetensors").write_bytes(b"\x80\x04\x95")
    with pytest.raises(CorruptFile, match="no safetensors"):
        taken(tmp_path / "a.safetensors")


def test_turns_by_hand():
    assert turns("SPL", 3) == ((0, 1, 2), (False, False, False))
    assert turns("RAS", 3) == ((2, 1, 0), (True, True, False))
    assert turns("LPS", 3) == ((2, 1, 0), (False, False, False))
    assert turns("xy", 2) == ((1, 0), (False, False))


def test_from_the_command_line(tmp_path, monkeypatch):
    monkeypatch.setenv("SOMASCOPE_MODELS", str(tmp_path / "own"))
    (tmp_path / "net.onnx").write_bytes(foreign.sided().SerializeToString())
    call = ["model", "import", str(tmp_path / "net.onnx"), "--task", "segment", "--name",
            "segment.mine", "--classes", "bright", "--scaling", "none", "--axes", "RAS",
            "--modality", "MR", "--licence", "CC0"]  # fmt: skip
    run = CliRunner().invoke(app, call)
    assert run.exit_code == 0, (run.output, run.exception)
    assert load("segment.mine").card.licence == "CC0"
    assert "segment.mine" in installed.models()
    scan(tmp_path)
    run = CliRunner().invoke(
        app, ["predict", "segment.mine", str(tmp_path / "scan.nii.gz"), "-o", str(tmp_path / "out")]
    )
    assert run.exit_code == 0, (run.output, run.exception)
    found = canonical(tmp_path / "out" / "scan.nii.gz") > 0
    assert np.array_equal(found, foreign.wanted(canonical(tmp_path / "scan.nii.gz")))
    again = CliRunner().invoke(app, call)
    assert "there already" in str(again.exception)
    out = CliRunner().invoke(
        app, ["model", "export", "segment.mine", "-o", str(tmp_path / "x.onnx")]
    )
    assert out.exit_code == 0, out.output
    assert onnxfile.inspect((tmp_path / "x.onnx").read_bytes()).inputs == ("image",)
    own = CliRunner().invoke(
        app, ["model", "import", str(tmp_path / "own" / "segment.mine.zip"), "--task", "segment"]
    )
    assert "has a card already" in str(own.exception)
    assert json.loads(CliRunner().invoke(app, ["model", "list", "--json"]).output)
    assert read(tmp_path / "out" / "scan.nii.gz").grid
