"""Runs in pyradiomics' own Python: features of the cases named on standard input, and the time.

pyradiomics is BSD-3 and no part of this project; it has no wheel. Build it once, with gcc there,
and name its Python::

    python3.11 -m venv peer && peer/bin/pip install numpy setuptools wheel cython
    peer/bin/pip install --no-build-isolation versioneer pyradiomics==3.0.1
    export SOMASCOPE_PYRADIOMICS=$PWD/peer/bin/python
"""

from __future__ import annotations

import json
import logging
import sys
import time

import numpy as np


def main() -> None:
    """One JSON line in, ``{"case": file, "settings": {}}``, one out, until the input ends."""
    import radiomics
    import SimpleITK
    from radiomics import featureextractor

    radiomics.logger.setLevel(logging.CRITICAL)
    print(json.dumps({"version": radiomics.__version__}), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        case = np.load(asked["case"])
        images = []
        for name in ("values", "labels"):
            image = SimpleITK.GetImageFromArray(case[name])
            image.SetSpacing([float(s) for s in case["spacing"][::-1]])
            images.append(image)
        found = {}
        start = time.perf_counter()
        for label in case["numbers"].tolist():
            extractor = featureextractor.RadiomicsFeatureExtractor(
                label=label, minimumROIDimensions=2, additionalInfo=False, **asked["settings"]
            )
            extractor.enableAllFeatures()
            found[label] = extractor.execute(*images)
        spent = time.perf_counter() - start
        features = {
            f"{label} {name.removeprefix('original_').replace('_', ' ')}": float(value)
            for label, made in found.items()
            for name, value in made.items()
        }
        print(json.dumps({"seconds": spent, "features": features}), flush=True)


if __name__ == "__main__":
    main()
