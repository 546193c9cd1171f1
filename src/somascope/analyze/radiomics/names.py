"""The features: their names, IBSI's codes, and units.

Names are those of pyradiomics where it has the feature, in its families. Codes are the
identifiers of the IBSI reference manual (Zwanenburg et al., Radiology 295 (2020) 328-338;
arXiv:1612.07003), which DICOM takes over under the coding scheme designator ``IBSI``
(PS3.16 section 8). A feature that IBSI does not define has no code there.
"""

from __future__ import annotations

from somascope.core import Code
from somascope.process.measured import SCHEME

FAMILIES = (
    "shape", "firstorder", "histogram", "glcm", "glrlm", "glszm", "gldm", "ngtdm",
)  # fmt: skip


def _listed(text: str) -> dict[str, str]:
    """``Name CODE Name CODE`` as a table; what begins with ``=`` is a code of our own."""
    words = text.split()
    return dict(zip(words[::2], words[1::2], strict=True))


CODES: dict[str, dict[str, str]] = {
    "shape": _listed(
        "MeshVolume RNU0 VoxelVolume YEKZ SurfaceArea C0JK SurfaceVolumeRatio 2PR5 "
        "Compactness1 SKGS Compactness2 BQWJ SphericalDisproportion KRCK Sphericity QCFX "
        "Asphericity 25C7 Maximum3DDiameter L0JK Maximum2DDiameterSlice =MAX2D_SLICE "
        "Maximum2DDiameterColumn =MAX2D_COLUMN Maximum2DDiameterRow =MAX2D_ROW "
        "MajorAxisLength TDIC "
        "MinorAxisLength P9VJ LeastAxisLength 7J51 Elongation Q3CK Flatness N17B "
        "VolumeDensityAABB PBX1 AreaDensityAABB R59B VolumeDensityAEE 6BDE AreaDensityAEE RDD2 "
        "VolumeDensityConvexHull R3ER AreaDensityConvexHull 7T7F CentreOfMassShift KLMA "
        "IntegratedIntensity 99N0"
    ),
    "shape2D": _listed(
        "MeshSurface =MESH_SURFACE PixelSurface =PIXEL_SURFACE Perimeter =PERIMETER "
        "PerimeterSurfaceRatio =PERIMETER_RATIO Sphericity =CIRCULARITY "
        "MaximumDiameter =MAX_DIAMETER MajorAxisLength =MAJOR_AXIS "
        "MinorAxisLength =MINOR_AXIS Elongation =ELONGATION"
    ),
    "firstorder": _listed(
        "Energy N8CA TotalEnergy =TOTAL_ENERGY Entropy TLU2 Minimum 1GSF "
        "10Percentile QG58 90Percentile 8DWT "
        "Maximum 84IY Mean Q4LE Median Y12H InterquartileRange SALO Range 2OJQ "
        "MeanAbsoluteDeviation 4FUA RobustMeanAbsoluteDeviation 1128 RootMeanSquared 5ZWQ "
        "StandardDeviation =SD "
        "Skewness KE2A Kurtosis =KURTOSIS ExcessKurtosis IPH6 Variance ECT3 "
        "Uniformity BJ5W MedianAbsoluteDeviation N72L CoefficientOfVariation 7TET "
        "QuartileCoefficientOfDispersion 9S40"
    ),
    "histogram": _listed(
        "Mean X6K6 Variance CH89 Skewness 88K1 ExcessKurtosis C3I7 Median WIFQ Minimum 1PR8 "
        "10Percentile 1PR 90Percentile GPMT Maximum 3NCY Mode AMMC InterquartileRange WR0O "
        "Range 5Z3W MeanAbsoluteDeviation D2ZX RobustMeanAbsoluteDeviation WRZB "
        "MedianAbsoluteDeviation 4RNL CoefficientOfVariation CWYJ "
        "QuartileCoefficientOfDispersion SLWD MaximumGradient 12CE MaximumGradientLevel 8E6O "
        "MinimumGradient VQB3 MinimumGradientLevel RHQZ"
    ),
    "glcm": _listed(
        "Autocorrelation QWB0 JointAverage 60VM ClusterProminence AE86 ClusterShade 7NFM "
        "ClusterTendency DG8W Contrast ACUI Correlation NI2N DifferenceAverage TF7R "
        "DifferenceEntropy NTRS DifferenceVariance D3YU JointEnergy 8ZQL JointEntropy TU9B "
        "Imc1 R8DG Imc2 JN9H Idm WF0Z MCC =MCC Idmn 1QCO Id IB1Z Idn NDRX InverseVariance E8JP "
        "MaximumProbability GYBY SumAverage ZGXS SumEntropy P6QZ SumSquares UR99"
    ),
    "glrlm": _listed(
        "ShortRunEmphasis 22OV LongRunEmphasis W4KF LowGrayLevelRunEmphasis V3SW "
        "HighGrayLevelRunEmphasis G3QZ ShortRunLowGrayLevelEmphasis HTZT "
        "ShortRunHighGrayLevelEmphasis GD3A LongRunLowGrayLevelEmphasis IVPO "
        "LongRunHighGrayLevelEmphasis 3KUM GrayLevelNonUniformity R5YN "
        "GrayLevelNonUniformityNormalized OVBL RunLengthNonUniformity W92Y "
        "RunLengthNonUniformityNormalized IC23 RunPercentage 9ZK5 GrayLevelVariance 8CE5 "
        "RunVariance SXLW RunEntropy HJ9O"
    ),
    "glszm": _listed(
        "SmallAreaEmphasis P001 LargeAreaEmphasis 48P8 LowGrayLevelZoneEmphasis XMSY "
        "HighGrayLevelZoneEmphasis 5GN9 SmallAreaLowGrayLevelEmphasis 5RAI "
        "SmallAreaHighGrayLevelEmphasis HW1V LargeAreaLowGrayLevelEmphasis YH51 "
        "LargeAreaHighGrayLevelEmphasis J17V GrayLevelNonUniformity JNSA "
        "GrayLevelNonUniformityNormalized Y1RO SizeZoneNonUniformity 4JP3 "
        "SizeZoneNonUniformityNormalized VB3A ZonePercentage P30P GrayLevelVariance BYLV "
        "ZoneVariance 3NSA ZoneEntropy GU8N"
    ),
    "gldm": _listed(
        "SmallDependenceEmphasis SODN LargeDependenceEmphasis IMOQ LowGrayLevelEmphasis TL9H "
        "HighGrayLevelEmphasis OAE7 SmallDependenceLowGrayLevelEmphasis EQ3F "
        "SmallDependenceHighGrayLevelEmphasis JA6D LargeDependenceLowGrayLevelEmphasis NBZI "
        "LargeDependenceHighGrayLevelEmphasis 9QMG GrayLevelNonUniformity FP8K "
        "GrayLevelNonUniformityNormalized 5SPA DependenceNonUniformity Z87G "
        "DependenceNonUniformityNormalized OKJI DependencePercentage 6XV8 "
        "GrayLevelVariance 1PFV DependenceVariance DNX2 DependenceEntropy FCBV"
    ),
    "ngtdm": _listed("Coarseness QCDE Contrast 65HE Busyness NQ30 Complexity HDEZ Strength 1X9X"),
}
_LENGTHS = (
    "Maximum3DDiameter", "Maximum2DDiameterSlice", "Maximum2DDiameterColumn",
    "Maximum2DDiameterRow", "MajorAxisLength", "MinorAxisLength", "LeastAxisLength",
    "CentreOfMassShift", "Perimeter", "MaximumDiameter",
)  # fmt: skip
_POWERS = {"Energy": 2, "Variance": 2, "TotalEnergy": 2}
_NUMBERS = (
    "Skewness", "Kurtosis", "ExcessKurtosis", "Uniformity", "CoefficientOfVariation",
    "QuartileCoefficientOfDispersion",
)  # fmt: skip


def concept(family: str, name: str) -> Code:
    """The coded concept of a feature; its meaning is ``family name``."""
    code = CODES[family][name]
    own = code.startswith("=")
    return Code(code.lstrip("="), SCHEME if own else "IBSI", f"{family} {name}")


def unit_of(family: str, name: str, unit: str) -> str:
    """The UCUM unit of a feature of an image in ``unit``."""
    if "Entropy" in name:
        return "bit"
    if family.startswith("shape"):
        if name in ("MeshVolume", "VoxelVolume"):
            return "mm3"
        if name in ("SurfaceArea", "MeshSurface", "PixelSurface"):
            return "mm2"
        if name in ("SurfaceVolumeRatio", "PerimeterSurfaceRatio"):
            return "/mm"
        if name == "IntegratedIntensity":
            return _times(unit, "mm3")
        return "mm" if name in _LENGTHS else "1"
    if family != "firstorder" or name in _NUMBERS:
        return "1"
    if name not in _POWERS:
        return unit
    squared = "1" if unit == "1" else f"({unit})2"
    return _times(squared, "mm3") if name == "TotalEnergy" else squared


def _times(unit: str, other: str) -> str:
    return other if unit == "1" else f"{unit}.{other}"
