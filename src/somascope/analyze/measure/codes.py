"""Concepts of measurements: SNOMED CT, LOINC and DCM codes of PS3.16."""

from __future__ import annotations

from somascope.core import Code

VOLUME = Code("118565006", "SCT", "Volume")
LONG_AXIS = Code("103339001", "SCT", "Long axis")
SHORT_AXIS = Code("103340004", "SCT", "Short axis")
DIAMETER_3D = Code("L0JK", "IBSI", "Maximum 3D Diameter of a Mesh")
MEAN_DIAMETER = Code("MEAN_DIAMETER", "99SOMASCOPE", "Mean of long and short axis")
PATH_LENGTH = Code("121211", "DCM", "Path length")
ANGLE = Code("1483009", "SCT", "Angle")
COBB_ANGLE = Code("285285000", "SCT", "Cobb angle")

MEAN = Code("373098007", "SCT", "Mean")
SD = Code("386136009", "SCT", "Standard deviation")
MINIMUM = Code("255605001", "SCT", "Minimum")
MAXIMUM = Code("56851009", "SCT", "Maximum")
MEDIAN = Code("373099004", "SCT", "Median")

METABOLIC_VOLUME = Code("126032", "DCM", "Metabolic Volume")
GLYCOLYSIS = Code("126033", "DCM", "Total Lesion Glycolysis")
SUV_MAX = Code("SUV_MAX", "99SOMASCOPE", "SUVmax")
SUV_PEAK = Code("SUV_PEAK", "99SOMASCOPE", "SUVpeak")
SUV_MEAN = Code("SUV_MEAN", "99SOMASCOPE", "SUVmean")
THRESHOLD = Code("SUV_THRESHOLD", "99SOMASCOPE", "SUV above which the lesion is measured")

END_DIASTOLIC = Code("8821-1", "LN", "Left Ventricular ED Volume")
END_SYSTOLIC = Code("8823-7", "LN", "Left Ventricular ES Volume")
STROKE_VOLUME = Code("90096001", "SCT", "Stroke Volume")
EJECTION_FRACTION = Code("10230-1", "LN", "Left ventricular ejection fraction")

WALL_THICKNESS = Code("122445", "DCM", "Wall Thickness")
LUMEN_DIAMETER = Code("397413000", "SCT", "Vessel lumen diameter")
DIAMETER_STENOSIS = Code("408715008", "SCT", "Lumen Diameter Stenosis")
AREA_STENOSIS = Code("408714007", "SCT", "Lumen Area Stenosis")
STENOSIS_PLACE = Code("STENOSIS_PLACE", "99SOMASCOPE", "Stenosis, length from the start")


def derived(code: Code, how: str) -> Code:
    """``code`` with its derivation in the meaning, as reports are read: ``SUVbw, Maximum``."""
    return Code(code.value, code.scheme, f"{code.meaning}, {how}")
