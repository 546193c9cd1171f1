"""IBSI's digital phantom and the values its manual gives for it.

Zwanenburg, Leger, Vallieres, Loeck: Image biomarker standardisation initiative, reference manual
(arXiv:1612.07003; https://ibsi.readthedocs.io, chapters 3 and 5; CC BY 4.0). Values are rounded
to three digits there. ``SOLID`` is its 3-D aggregation (GLCM and GLRLM: merged), ``SLICES`` "2D,
averaged".
"""

from __future__ import annotations

import numpy as np

from somascope.core import Grid, Image, Mask, Segment

_ROWS = """
1 4 4 1 1   1 4 6 1 1   4 1 6 4 1   4 4 6 4 1
1 4 4 1 1   1 1 6 1 1   0 1 3 1 1   4 4 6 1 1
1 4 4 0 0   1 1 1 1 1   1 1 0 1 1   1 1 6 1 1
1 4 4 0 0   1 1 1 1 1   1 1 1 1 1   1 1 6 1 1
"""
VALUES = np.array(_ROWS.split(), np.int16).reshape(4, 4, 5)
"""``(z, y, x)``; 0 is outside the region."""

GRID = Grid.from_spacing((4, 4, 5), (2.0, 2.0, 2.0))


def image() -> Image:
    return Image(VALUES, GRID, "CT", "1")


def mask() -> Mask:
    inside = (VALUES > 0).astype(np.uint8)
    return Mask(data=inside, grid=GRID, segments=(Segment(1, "Region"),))


def _table(text: str) -> dict[str, float]:
    words = text.split()
    return {n: float(v) for n, v in zip(words[::2], words[1::2], strict=True)}


SOLID = {
    "shape": _table(
        "MeshVolume 556 VoxelVolume 592 SurfaceArea 388 SurfaceVolumeRatio 0.698 "
        "Compactness1 0.0411 Compactness2 0.599 SphericalDisproportion 1.19 Sphericity 0.843 "
        "Asphericity 0.186 CentreOfMassShift 0.672 Maximum3DDiameter 13.1 MajorAxisLength 11.4 "
        "MinorAxisLength 9.31 LeastAxisLength 8.54 Elongation 0.816 Flatness 0.749 "
        "VolumeDensityAABB 0.869 AreaDensityAABB 0.866 VolumeDensityAEE 1.17 AreaDensityAEE 1.36 "
        "VolumeDensityConvexHull 0.961 AreaDensityConvexHull 1.03 IntegratedIntensity 1.20e3"
    ),
    "firstorder": _table(
        "Mean 2.15 Variance 3.05 Skewness 1.08 ExcessKurtosis -0.355 Median 1 Minimum 1 "
        "10Percentile 1 90Percentile 4 Maximum 6 InterquartileRange 3 Range 5 "
        "MeanAbsoluteDeviation 1.55 RobustMeanAbsoluteDeviation 1.11 MedianAbsoluteDeviation 1.15 "
        "CoefficientOfVariation 0.812 QuartileCoefficientOfDispersion 0.6 Energy 567 "
        "RootMeanSquared 2.77 Entropy 1.27 Uniformity 0.512"
    ),
    "histogram": _table(
        "Mean 2.15 Variance 3.05 Skewness 1.08 ExcessKurtosis -0.355 Median 1 Minimum 1 "
        "10Percentile 1 90Percentile 4 Maximum 6 Mode 1 InterquartileRange 3 Range 5 "
        "MeanAbsoluteDeviation 1.55 RobustMeanAbsoluteDeviation 1.11 MedianAbsoluteDeviation 1.15 "
        "CoefficientOfVariation 0.812 QuartileCoefficientOfDispersion 0.6 MaximumGradient 8 "
        "MaximumGradientLevel 3 MinimumGradient -50 MinimumGradientLevel 1"
    ),
    "glcm": _table(
        "MaximumProbability 0.509 JointAverage 2.15 SumSquares 3.13 JointEntropy 2.57 "
        "DifferenceAverage 1.38 DifferenceVariance 3.21 DifferenceEntropy 1.64 SumAverage 4.3 "
        "SumEntropy 2.11 JointEnergy 0.291 Contrast 5.12 Id 0.688 Idn 0.856 Idm 0.631 Idmn 0.902 "
        "InverseVariance 0.0574 Correlation 0.183 Autocorrelation 5.19 ClusterTendency 7.41 "
        "ClusterShade 17.4 ClusterProminence 147 Imc1 -0.0288 Imc2 0.269"
    ),
    "glrlm": _table(
        "ShortRunEmphasis 0.729 LongRunEmphasis 2.76 LowGrayLevelRunEmphasis 0.607 "
        "HighGrayLevelRunEmphasis 9.64 ShortRunLowGrayLevelEmphasis 0.372 "
        "ShortRunHighGrayLevelEmphasis 8.67 LongRunLowGrayLevelEmphasis 2.16 "
        "LongRunHighGrayLevelEmphasis 15.6 GrayLevelNonUniformity 281 "
        "GrayLevelNonUniformityNormalized 0.43 RunLengthNonUniformity 328 "
        "RunLengthNonUniformityNormalized 0.501 RunPercentage 0.68 GrayLevelVariance 3.48 "
        "RunVariance 0.598 RunEntropy 2.62"
    ),
    "glszm": _table(
        "SmallAreaEmphasis 0.255 LargeAreaEmphasis 550 LowGrayLevelZoneEmphasis 0.253 "
        "HighGrayLevelZoneEmphasis 15.6 SmallAreaLowGrayLevelEmphasis 0.0256 "
        "SmallAreaHighGrayLevelEmphasis 2.76 LargeAreaLowGrayLevelEmphasis 503 "
        "LargeAreaHighGrayLevelEmphasis 1.49e3 GrayLevelNonUniformity 1.4 "
        "GrayLevelNonUniformityNormalized 0.28 SizeZoneNonUniformity 1 "
        "SizeZoneNonUniformityNormalized 0.2 ZonePercentage 0.0676 GrayLevelVariance 2.64 "
        "ZoneVariance 331 ZoneEntropy 2.32"
    ),
    "gldm": _table(
        "SmallDependenceEmphasis 0.045 LargeDependenceEmphasis 109 LowGrayLevelEmphasis 0.693 "
        "HighGrayLevelEmphasis 7.66 SmallDependenceLowGrayLevelEmphasis 0.00963 "
        "SmallDependenceHighGrayLevelEmphasis 0.736 LargeDependenceLowGrayLevelEmphasis 102 "
        "LargeDependenceHighGrayLevelEmphasis 235 GrayLevelNonUniformity 37.9 "
        "GrayLevelNonUniformityNormalized 0.512 DependenceNonUniformity 4.86 "
        "DependenceNonUniformityNormalized 0.0657 DependencePercentage 1 GrayLevelVariance 3.05 "
        "DependenceVariance 22.1 DependenceEntropy 4.4"
    ),
    "ngtdm": _table(
        "Coarseness 0.0296 Contrast 0.584 Busyness 6.54 Complexity 13.5 Strength 0.763"
    ),
}

SLICES = {
    "glcm": _table(
        "MaximumProbability 0.519 JointAverage 2.14 SumSquares 2.69 JointEntropy 2.05 "
        "DifferenceAverage 1.42 DifferenceVariance 2.9 DifferenceEntropy 1.4 SumAverage 4.28 "
        "SumEntropy 1.6 JointEnergy 0.368 Contrast 5.28 Id 0.678 Idn 0.851 Idm 0.619 Idmn 0.899 "
        "InverseVariance 0.0567 Correlation -0.0121 Autocorrelation 5.09 ClusterTendency 5.47 "
        "ClusterShade 7 ClusterProminence 79.1 Imc1 -0.155 Imc2 0.487"
    ),
    "glrlm": _table(
        "ShortRunEmphasis 0.641 LongRunEmphasis 3.78 LowGrayLevelRunEmphasis 0.604 "
        "HighGrayLevelRunEmphasis 9.82 ShortRunLowGrayLevelEmphasis 0.294 "
        "ShortRunHighGrayLevelEmphasis 8.57 LongRunLowGrayLevelEmphasis 3.14 "
        "LongRunHighGrayLevelEmphasis 17.4 GrayLevelNonUniformity 5.2 "
        "GrayLevelNonUniformityNormalized 0.46 RunLengthNonUniformity 6.12 "
        "RunLengthNonUniformityNormalized 0.492 RunPercentage 0.627 GrayLevelVariance 3.35 "
        "RunVariance 0.761 RunEntropy 2.17"
    ),
    "glszm": _table(
        "SmallAreaEmphasis 0.363 LargeAreaEmphasis 43.9 LowGrayLevelZoneEmphasis 0.371 "
        "HighGrayLevelZoneEmphasis 16.4 SmallAreaLowGrayLevelEmphasis 0.0259 "
        "SmallAreaHighGrayLevelEmphasis 10.3 LargeAreaLowGrayLevelEmphasis 40.4 "
        "LargeAreaHighGrayLevelEmphasis 113 GrayLevelNonUniformity 1.41 "
        "GrayLevelNonUniformityNormalized 0.323 SizeZoneNonUniformity 1.49 "
        "SizeZoneNonUniformityNormalized 0.333 ZonePercentage 0.24 GrayLevelVariance 3.97 "
        "ZoneVariance 21 ZoneEntropy 1.93"
    ),
    "gldm": _table(
        "SmallDependenceEmphasis 0.158 LargeDependenceEmphasis 19.2 LowGrayLevelEmphasis 0.702 "
        "HighGrayLevelEmphasis 7.49 SmallDependenceLowGrayLevelEmphasis 0.0473 "
        "SmallDependenceHighGrayLevelEmphasis 3.06 LargeDependenceLowGrayLevelEmphasis 17.6 "
        "LargeDependenceHighGrayLevelEmphasis 49.5 GrayLevelNonUniformity 10.2 "
        "GrayLevelNonUniformityNormalized 0.562 DependenceNonUniformity 3.96 "
        "DependenceNonUniformityNormalized 0.212 GrayLevelVariance 2.7"
    ),
    "ngtdm": _table("Coarseness 0.121 Contrast 0.925 Busyness 2.99 Complexity 10.4 Strength 2.88"),
}
