"""Weights of others, in their own networks: the same numbers out; the rest refused by name."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save, save_file
from typer.testing import CliRunner

from somascope.cli.app import app
from somascope.core.errors import CorruptFile, MissingExtra, ParameterError, Refused
from somascope.learn import adopt
from somascope.learn.networks import build
from somascope.models import load
from somascope.models.engine import Runtime
from somascope.models.foreign import Found, Told, finished, taken
from tests.models import foreign

UNET = {"kind": "unet", "inputs": 1, "outputs": 2, "dimensions": 2, "widths": [4, 8]}
TOLD = Told(task="segment", name="segment.x", channels=1, patch=(16, 16), scaling="none",
            axes="yx")  # fmt: skip


def found(network, description, told=TOLD, around=""):
    weights = save({f"{around}{n}": t.contiguous() for n, t in network.state_dict().items()})
    return Found(told, "x.safetensors", weights=weights, network=description)


@pytest.mark.parametrize("around", ["", "module."])
def test_our_own_networks(around):
    torch.manual_seed(0)
    network = build(UNET).eval()
    packed = finished(adopt.adopted(found(network, UNET, around=around)))
    image = torch.randn(1, 1, 16, 16)
    with torch.inference_mode():
        wanted = network(image).numpy()
    assert np.allclose(Runtime(packed.graph, 1)({"image": image.numpy()})[0], wanted, atol=1e-4)


def test_monais_networks_from_a_bundle(tmp_path):
    nets = pytest.importorskip("monai.networks.nets")
    settings = {"spatial_dims": 3, "in_channels": 1, "out_channels": 2, "channels": [4, 8],
                "strides": [2], "num_res_units": 1}  # fmt: skip
    torch.manual_seed(0)
    network = nets.UNet(**settings).eval()
    inference = dict(foreign.INFERENCE)
    inference["roi"] = [16, 8, 24]
    inference["network_def"] = {"_target_": "UNet", **settings}
    metadata = json.loads(json.dumps(foreign.METADATA))
    metadata["network_data_format"]["inputs"]["image"]["spatial_shape"] = [16, 8, 24]
    folder = foreign.bundle(tmp_path / "b", save(network.state_dict()), metadata=metadata,
                            inference=inference, name="model.safetensors")  # fmt: skip
    packed = finished(adopt.adopted(taken(folder, Told(name="segment.m"))))
    assert packed.card.patch == (24, 8, 16)
    ours = np.random.default_rng(0).random((1, 1, 24, 8, 16)).astype(np.float32)
    # Ours: head, back, left; theirs: right, front, head; values of 0 to 1 become -1 to 1.
    theirs = np.ascontiguousarray(ours.transpose(0, 1, 4, 3, 2)[:, :, ::-1, ::-1]) * 2 - 1
    with torch.inference_mode():
        wanted = network(torch.from_numpy(theirs)).numpy()
    said = Runtime(packed.graph, 1)({"image": ours})[0]
    back = said.transpose(0, 1, 4, 3, 2)[:, :, ::-1, ::-1]
    assert np.abs(back - wanted).max() < 1e-3 * wanted.std()


def test_nnunets_network_from_its_folder(tmp_path):
    unet = pytest.importorskip("dynamic_network_architectures.architectures.unet")
    arguments = {
        "n_stages": 2, "features_per_stage": [4, 8], "conv_op": "torch.nn.modules.conv.Conv3d",
        "kernel_sizes": [[3, 3, 3], [3, 3, 3]], "strides": [[1, 1, 1], [2, 2, 2]],
        "n_conv_per_stage": [1, 1], "n_conv_per_stage_decoder": [1], "conv_bias": True,
        "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
        "norm_op_kwargs": {"eps": 1e-5, "affine": True}, "dropout_op": None,
        "dropout_op_kwargs": None, "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    }  # fmt: skip
    plans = json.loads(json.dumps(foreign.PLANS))
    full = plans["configurations"]["3d_fullres"]
    full["patch_size"] = [8, 16, 16]
    full["architecture"] = {
        "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
        "arch_kwargs": arguments,
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }
    torch.manual_seed(0)
    network = unet.PlainConvUNet(
        1, num_classes=2, deep_supervision=False, **arguments
        | {"conv_op": torch.nn.Conv3d, "norm_op": torch.nn.InstanceNorm3d,
           "nonlin": torch.nn.LeakyReLU},
    ).eval()  # fmt: skip
    state = {n: t.clone() for n, t in network.state_dict().items()}
    folder = foreign.nnunet(tmp_path / "n__3d_fullres", save(state), plans=plans,
                            name="checkpoint.safetensors")  # fmt: skip
    packed = finished(adopt.adopted(taken(folder)))
    ours = np.random.default_rng(0).random((1, 1, 8, 16, 16)).astype(np.float32)
    values = ours * 200 - 100  # as the card's range has them
    with torch.inference_mode():
        wanted = network(torch.from_numpy((values - 40) / 20)).numpy()
    said = Runtime(packed.graph, 1)({"image": ours})[0]
    assert np.abs(said - wanted).max() < 1e-3 * wanted.std()


def wrong():
    network = build(UNET)
    good = network.state_dict()
    first = next(iter(good))
    yield {}, good, ParameterError, "--network"
    yield {"_target_": "os.system", "command": "true"}, good, Refused, "not built here"
    yield {"_target_": "monai.bundle.ConfigParser"}, good, Refused, "not built here"
    yield {**UNET, "widths": "$[4]"}, good, Refused, "not evaluated"
    yield {**UNET, "widths": [4, 10**9]}, good, Refused, "larger than"
    nested = {}
    for _ in range(12):
        nested = {"a": nested}
    yield {**UNET, "inputs": nested}, good, Refused, "deeply"
    yield UNET, {k: v for k, v in good.items() if k != first}, Refused, "1 are missing"
    yield UNET, {**good, "evil": torch.ones(1)}, Refused, "1 are strange"
    yield UNET, {**good, first: torch.ones(1)}, Refused, "shape"
    yield {"network_class_name": "os.system"}, good, Refused, "not built here"


@pytest.mark.parametrize(("description", "state", "kind", "said"), list(wrong()))
def test_what_is_not_built(description, state, kind, said):
    weights = save({n: t.contiguous() for n, t in state.items()})
    with pytest.raises(kind, match=said):
        adopt.adopted(Found(TOLD, "x", weights=weights, network=description))


def test_damaged_and_unsized_weights(monkeypatch):
    network = build(UNET)
    whole = found(network, UNET)
    cut = Found(TOLD, "x", weights=whole.weights[:-5], network=UNET)
    with pytest.raises(CorruptFile, match="damaged"):
        adopt.adopted(cut)
    with pytest.raises(ParameterError, match="--patch"):
        adopt.adopted(found(network, UNET, Told(task="segment", channels=1)))
    monkeypatch.setattr(adopt, "find_spec", lambda _name: None)
    for description in ({"_target_": "UNet"}, {"network_class_name": "x.PlainConvUNet"}):
        with pytest.raises(MissingExtra, match="pip install"):
            adopt.adopted(found(network, description))


def test_from_the_command_line(tmp_path):
    save_file(build(UNET).state_dict(), tmp_path / "w.safetensors")
    call = ["model", "import", str(tmp_path / "w.safetensors"), "-o", str(tmp_path / "net.zip"),
            "--task", "segment", "--patch", "16,16", "--channels", "1", "--scaling", "zscore",
            "--axes", "yx", "--network", json.dumps(UNET)]  # fmt: skip
    run = CliRunner().invoke(app, call)
    assert run.exit_code == 0, (run.output, run.exception)
    assert load(tmp_path / "net.zip").card.patch == (16, 16)
