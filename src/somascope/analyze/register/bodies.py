"""Which part of the body an image says it shows (Body Part Examined, PS3.16 annex L)."""

from __future__ import annotations

from somascope.core.image import Image

_NAMED: dict[str, str] = {
    "head": "BRAIN HEAD SKULL ORBIT EYE FACE JAW MANDIBLE MAXILLA SINUS EAR IAC PITUITARY TMJ "
    "HIPPOCAMPUS",
    "neck": "NECK CSPINE THYROID CAROTID LARYNX PHARYNX TONGUE SPINE CTSPINE",
    "chest": "CHEST THORAX LUNG HEART BREAST RIB STERNUM TSPINE ESOPHAGUS MEDIASTINUM CLAVICLE "
    "CORONARY BRONCHUS SPINE CTSPINE TLSPINE AORTA",
    "abdomen": "ABD LIVER KIDNEY PANCREAS SPLEEN LSPINE STOMACH DUODENUM COLON BOWEL GALLBLADDER "
    "BILIARY SPINE TLSPINE LSSPINE AORTA RETROPERITONEUM",
    "pelvis": "PELVI PROSTATE UTERUS BLADDER SACRUM SSPINE RECTUM OVARY HIP COCCYX SPINE LSSPINE "
    "COLON AORTA",
    "arm": "ARM FOREARM UPPERARM SHOULDER ELBOW WRIST HAND FINGER THUMB HUMERUS RADIUS ULNA "
    "SCAPULA EXTREMITY",
    "leg": "LEG HIP THIGH KNEE ANKLE FOOT TOE FEMUR TIBIA FIBULA CALF HEEL CALCANEUS PATELLA "
    "EXTREMITY",
}
_NEXT = {
    "head": "neck", "neck": "head chest", "chest": "neck abdomen arm", "abdomen": "chest pelvis",
    "pelvis": "abdomen leg", "arm": "chest", "leg": "pelvis",
}  # fmt: skip
"""Regions that scans of one usually show the edge of."""


def regions(image: Image) -> frozenset[str]:
    """The regions that Body Part Examined names; none where it says nothing that is known here."""
    said = str(image.attributes.get("BodyPartExamined") or "").upper()
    words = set("".join(c if c.isalpha() else " " for c in said).split())
    plain = "".join(sorted(words, key=said.find))
    if not plain or "WHOLE" in plain:
        return frozenset()
    found = {
        region
        for region, names in _NAMED.items()
        for name in names.split()
        if _says(plain, words, name)
    }
    return frozenset(found)


def _says(plain: str, words: set[str], name: str) -> bool:
    """Short names stand alone, or they are found in others (``EAR`` in ``HEART``)."""
    if len(name) <= 3 and name != "ABD":
        return name in words
    if name.endswith("SPINE"):
        return name in words or plain == name
    return name in plain


def apart(fixed: Image, moving: Image) -> bool:
    """Whether both say what they show, and these are neither one part nor neighbours."""
    one, two = regions(fixed), regions(moving)
    if not one or not two:
        return False
    near = one | {n for region in one for n in _NEXT[region].split()}
    return not near & two
