"""Makes ``iod_table.json`` of ``somascope.io.dicom`` from the tables that highdicom carries.

``python tests/io/dicom/iod_table_source.py`` rewrites it; the test compares it with `extract`.
"""

import json
from pathlib import Path

import highdicom

TARGET = Path(__file__).parents[3] / "src/somascope/io/dicom/iod_table.json"

IODS = (
    "ct-image",
    "enhanced-ct-image",
    "mr-image",
    "enhanced-mr-image",
    "positron-emission-tomography-image",
    "enhanced-pet-image",
    "nuclear-medicine-image",
    "ultrasound-image",
    "ultrasound-multi-frame-image",
    "digital-x-ray-image",
    "computed-radiography-image",
    "secondary-capture-image",
    "multi-frame-grayscale-byte-secondary-capture-image",
    "multi-frame-grayscale-word-secondary-capture-image",
    "multi-frame-true-color-secondary-capture-image",
    "segmentation",
    "parametric-map",
    "raw-data",
    "spatial-registration",
    "deformable-spatial-registration",
    "comprehensive-3d-sr",
    "pseudo-color-softcopy-presentation-state",
)
DEPTH = 3
OF_ROOT = ("ValueType", "ConceptNameCodeSequence", "ContinuityOfContent")
"""Of the macros in SR Document Content (which depend on Value Type) what the root must have."""


def standard(name):
    folder = Path(highdicom.__file__).parent / "_standard"
    return json.loads((folder / name).read_text(encoding="utf-8"))


def branch(attributes, path):
    """Type 1 and 2 keywords directly under ``path``, and the same for each sequence below."""
    here = [a for a in attributes if a["path"] == path]
    result = {}
    for kind in ("1", "2"):
        names = sorted({a["keyword"] for a in here if a["type"] == kind})
        if names:
            result[f"type{kind}"] = " ".join(names)
    if not path:
        others = sorted({a["keyword"] for a in here if a["type"] not in ("1", "2")})
        if others:
            result["other"] = " ".join(others)
    within = {}
    for a in here:
        name = a["keyword"]
        if name.endswith("Sequence") and not name.endswith("CodeSequence") and len(path) < DEPTH:
            below = branch(attributes, [*path, name])
            if below:
                within[name] = below
    if within:
        result["within"] = dict(sorted(within.items()))
    return result


def extract():
    iods = standard("iod_module_map.json")
    modules = standard("module_attribute_map.json")
    skip = {"clinical-trial-subject", "clinical-trial-study", "clinical-trial-series"}
    used = {i: {m["key"]: m["usage"] for m in iods[i] if m["key"] not in skip} for i in IODS}
    wanted = sorted({m for names in used.values() for m in names})
    modules["sr-document-content"] = [
        {**a, "type": "1" if a["keyword"] in OF_ROOT else "3"}
        for a in modules["sr-document-content"]
        if not a["path"]
    ]
    return {"iods": used, "modules": {m: branch(modules[m], []) for m in wanted}}


if __name__ == "__main__":
    TARGET.write_text(json.dumps(extract(), indent=0, sort_keys=True) + "\n", encoding="utf-8")
