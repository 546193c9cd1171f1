"""Models as others leave them: a MONAI bundle, an nnU-Net folder, a graph on axes of its own."""

import json

import numpy as np

from tests.models import graphs

SIZES = (10, 12, 8)  # along the network's own axes


def sided(*, axis=0, sizes=SIZES, classes=1, opset=17, name="input", activation=None):
    """Logits 0 and 10 (x + ramp along one axis of its own - 1), for each class a unit further."""
    shape = [1, 1, *[1] * len(sizes)]
    shape[2 + axis] = sizes[axis]
    ramp = graphs.weight("ramp", np.linspace(0, 1, sizes[axis]).reshape(shape))
    single = activation in ("sigmoid", "probability")
    kernel = np.array([10.0] if single else [0, *[10.0] * classes])
    offset = np.array([-10.0] if single else [0, *[-10.0 - 2 * k for k in range(classes)]])
    w = graphs.weight("w", kernel.reshape(-1, 1, *[1] * len(sizes)))
    helper = graphs.onnx.helper
    nodes = [
        helper.make_node("Add", [name, "ramp"], ["moved"]),
        helper.make_node("Conv", ["moved", "w", "b"], ["out"]),
    ]
    if activation == "probabilities":
        nodes.append(helper.make_node("Softmax", ["out"], ["answer"], axis=1))
    elif activation == "probability":
        nodes.append(helper.make_node("Sigmoid", ["out"], ["answer"]))
    else:
        nodes.append(helper.make_node("Identity", ["out"], ["answer"]))
    ends = [1, len(kernel), *sizes]
    return graphs.model(nodes, inputs={name: [1, 1, *sizes]}, outputs={"answer": ends},
                        weights=[ramp, w, graphs.weight("b", offset)], opset=opset)  # fmt: skip


def wanted(values, *, axis=0):
    """What `sided` says of an array on its own axes: 1 where x + ramp >= 1."""
    shape = [1] * values.ndim
    shape[axis] = values.shape[axis]
    return values + np.linspace(0, 1, values.shape[axis]).reshape(shape) >= 1


METADATA = {
    "version": "0.3.1", "name": "Bright things", "description": "What is bright at the right",
    "copyright": "Apache-2.0", "data_source": "made", "intended_use": "tests",
    "network_data_format": {
        "inputs": {"image": {
            "type": "image", "format": "magnitude", "modality": "MR", "num_channels": 1,
            "spatial_shape": list(SIZES), "is_patch_data": True,
        }},
        "outputs": {"pred": {
            "type": "image", "format": "segmentation", "num_channels": 2,
            "channel_def": {"0": "background", "1": "bright"},
        }},
    },
}  # fmt: skip
INFERENCE = {
    "imports": ["$import os", "$__import__('os').system('true')"],
    "roi": list(SIZES),
    "device": "$torch.device('cuda')",
    "network_def": {"_target_": "UNet", "spatial_dims": 3},
    "network": "$@network_def.to(@device)",
    "preprocessing": {"_target_": "Compose", "transforms": [
        {"_target_": "LoadImaged", "keys": "image"},
        {"_target_": "EnsureChannelFirstd", "keys": "image"},
        {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS"},
        {"_target_": "ScaleIntensityRanged", "keys": "image", "a_min": -100, "a_max": 100,
         "b_min": -1, "b_max": 1, "clip": True},
        {"_target_": "EnsureTyped", "keys": "image"},
    ]},
    "inferer": {"_target_": "SlidingWindowInferer", "roi_size": "@roi", "overlap": 0.25},
    "postprocessing": {"_target_": "Compose", "transforms": [
        {"_target_": "Activationsd", "keys": "pred", "softmax": True},
    ]},
}  # fmt: skip


def bundle(folder, made, *, metadata=METADATA, inference=INFERENCE, name="model.onnx"):
    (folder / "configs").mkdir(parents=True)
    (folder / "models").mkdir()
    (folder / "configs" / "metadata.json").write_text(json.dumps(metadata))
    (folder / "configs" / "inference.json").write_text(json.dumps(inference))
    data = made if isinstance(made, bytes) else made.SerializeToString()
    (folder / "models" / name).write_bytes(data)
    (folder / "LICENSE").write_text("Apache-2.0")
    return folder


PLANS = {
    "dataset_name": "Dataset900_Bright", "plans_name": "nnUNetPlans",
    "transpose_forward": [0, 1, 2], "transpose_backward": [0, 1, 2],
    "foreground_intensity_properties_per_channel": {
        "0": {"mean": 40.0, "std": 20.0, "percentile_00_5": -100.0, "percentile_99_5": 100.0}
    },
    "configurations": {
        "2d": {"patch_size": [12, 8], "spacing": [1.0, 1.0], "normalization_schemes":
               ["CTNormalization"], "use_mask_for_norm": [False]},
        "3d_lowres": {"inherits_from": "3d_fullres", "spacing": [4.0, 4.0, 4.0]},
        "3d_fullres": {
            "patch_size": list(SIZES), "spacing": [1.0, 1.0, 1.0],
            "normalization_schemes": ["CTNormalization"], "use_mask_for_norm": [False],
            "architecture": {"network_class_name":
                             "dynamic_network_architectures.architectures.unet.PlainConvUNet",
                             "arch_kwargs": {}, "_kw_requires_import": []},
        },
    },
}  # fmt: skip
DATASET = {
    "channel_names": {"0": "CT"}, "labels": {"background": 0, "bright": 1}, "numTraining": 3,
    "file_ending": ".nii.gz", "licence": "CC0", "reference": "made",
}  # fmt: skip


def nnunet(folder, made, *, plans=PLANS, dataset=DATASET, name="model.onnx"):
    (folder / "fold_0").mkdir(parents=True)
    (folder / "plans.json").write_text(json.dumps(plans))
    (folder / "dataset.json").write_text(json.dumps(dataset))
    data = made if isinstance(made, bytes) else made.SerializeToString()
    (folder / "fold_0" / name).write_bytes(data)
    return folder
