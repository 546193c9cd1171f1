"""ITK's transform files (text, HDF5), ANTs' .mat and elastix' parameter files."""

from __future__ import annotations

import re
from io import BytesIO
from pathlib import Path

import numpy as np

from somascope.core.errors import CorruptFile, UnsupportedFormat
from somascope.core.finding import Warp
from somascope.core.grid import Array, Float, Grid

_AFFINE = "AffineTransform_double_3_3"


def warp_of(parameters: Float, centre: Float) -> Warp:
    """Twelve parameters (matrix by rows, translation) about a centre (ITK's MatrixOffset)."""
    if parameters.size != 12 or centre.size != 3:
        raise UnsupportedFormat(
            f"an affine transform has 12 parameters and a centre of 3, not {parameters.size} and "
            f"{centre.size}"
        )
    matrix = np.eye(4)
    matrix[:3, :3] = parameters[:9].reshape(3, 3)
    matrix[:3, 3] = parameters[9:] + centre - matrix[:3, :3] @ centre
    return Warp(matrix=matrix)


def _parameters(matrix: Float) -> Float:
    return np.concatenate([matrix[:3, :3].ravel(), matrix[:3, 3]])


def _euler(p: Float, centre: Float) -> Warp:
    """ITK's Euler3DTransform: angles about x, y, z (applied Z X Y), then the translation."""
    from scipy.spatial.transform import Rotation

    matrix = Rotation.from_euler("ZXY", [p[2], p[0], p[1]]).as_matrix()
    return warp_of(np.concatenate([matrix.ravel(), p[3:6]]), centre)


def tfm(matrix: Float) -> str:
    """ITK's text of an affine transform."""
    numbers = " ".join(repr(float(p)) for p in _parameters(matrix))
    return (
        "#Insight Transform File V1.0\n#Transform 0\n"
        f"Transform: {_AFFINE}\nParameters: {numbers}\nFixedParameters: 0 0 0\n"
    )


def read_tfm(text: str) -> Warp:
    """One affine, Euler or translation transform of ITK's text file."""
    kinds = re.findall(r"(?m)^Transform: (\S+)", text)
    values = re.findall(r"(?m)^Parameters: (.*)$", text)
    fixed = re.findall(r"(?m)^FixedParameters: (.*)$", text)
    if len(kinds) != 1 or len(values) != 1:
        raise UnsupportedFormat(
            f"the file holds {len(kinds)} transforms ({', '.join(kinds[:3])}); one is read"
        )
    p = np.array(values[0].split(), np.float64)
    c = np.array(fixed[0].split(), np.float64) if fixed else np.zeros(3)
    return _made(kinds[0], p, c)


def _made(kind: str, p: Float, c: Float) -> Warp:
    if kind.startswith(("AffineTransform", "MatrixOffset", "ScaleSkew")) or p.size == 12:
        return warp_of(p, c[:3])
    if kind.startswith("Euler3D"):
        return _euler(p, c[:3])
    if kind.startswith("TranslationTransform") and p.size == 3:
        return warp_of(np.concatenate([np.eye(3).ravel(), p]), np.zeros(3))
    if kind.startswith("VersorRigid3D"):
        from scipy.spatial.transform import Rotation

        w = np.sqrt(max(1.0 - float(p[:3] @ p[:3]), 0.0))
        turn = Rotation.from_quat([*p[:3], w]).as_matrix()
        return warp_of(np.concatenate([turn.ravel(), p[3:6]]), c[:3])
    raise UnsupportedFormat(f"a transform of kind {kind} is not read; make it affine or a field")


def ants_mat(matrix: Float) -> bytes:
    """ANTs' ``0GenericAffine.mat``: MATLAB version 4, parameters and centre."""
    from scipy.io import savemat

    out = BytesIO()
    savemat(out, {_AFFINE: _parameters(matrix)[:, None], "fixed": np.zeros((3, 1))}, format="4")
    return out.getvalue()


def read_ants_mat(path: Path) -> Warp:
    """The affine transform of an ITK .mat file."""
    from scipy.io import loadmat

    found = loadmat(path)
    names = [k for k in found if "Transform" in k]
    if len(names) != 1:
        raise UnsupportedFormat(f"{path.name} holds {len(names)} transforms; one is read")
    centre = np.asarray(found.get("fixed", np.zeros(3)), np.float64).ravel()
    return _made(names[0], np.asarray(found[names[0]], np.float64).ravel(), centre)


def elastix(matrix: Float) -> str:
    """Elastix' parameter file of an affine transform, as transformix reads it."""
    numbers = " ".join(repr(float(p)) for p in _parameters(matrix))
    return (
        '(Transform "AffineTransform")\n(NumberOfParameters 12)\n'
        f"(TransformParameters {numbers})\n"
        '(InitialTransformParameterFileName "NoInitialTransform")\n'
        '(HowToCombineTransforms "Compose")\n'
        "(FixedImageDimension 3)\n(MovingImageDimension 3)\n"
        '(CenterOfRotationPoint 0.0 0.0 0.0)\n(FixedInternalImagePixelType "float")\n'
        '(MovingInternalImagePixelType "float")\n'
    )


def read_elastix(text: str) -> Warp:
    """A rigid or affine transform of elastix."""
    entries = dict(re.findall(r"(?m)^\((\w+)\s+(.*)\)\s*$", text))
    kind = entries.get("Transform", "").strip('"')
    if entries.get("InitialTransformParameterFileName", "").strip('"') not in (
        "NoInitialTransform", "",
    ):  # fmt: skip
        raise UnsupportedFormat(
            "this elastix transform continues another file's; compose the two after reading each"
        )
    p = np.array(entries.get("TransformParameters", "").split(), np.float64)
    c = np.array(entries.get("CenterOfRotationPoint", "0 0 0").split(), np.float64)
    if kind == "EulerTransform" and p.size == 6:
        return _euler(p, c)
    if kind in ("AffineTransform", "AffineDTITransform") and p.size == 12:
        return warp_of(p, c)
    if kind == "TranslationTransform" and p.size == 3:
        return warp_of(np.concatenate([np.eye(3).ravel(), p]), np.zeros(3))
    raise UnsupportedFormat(
        f"an elastix {kind or 'transform without a name'} with {p.size} parameters is not read; "
        "export its deformation field (transformix -def all) as NIfTI"
    )


def write_composite(warp: Warp, path: Path) -> None:
    """ITK's HDF5 composite: the affine part, after it the field (``x -> A x + u(x)``).

    ITK applies the last transform of the list first: the field ``A^-1 u`` comes last.
    """
    import h5py

    temporary = path.with_name("." + path.name)
    with h5py.File(temporary, "w") as file:
        _words(file, "ITKVersion", "5.4.0")
        _words(file, "HDFVersion", "1.10")
        group = file.create_group("TransformGroup")
        composite = group.create_group("0")
        _words(composite, "TransformType", "CompositeTransform_double_3_3")
        _part(group, 1, _AFFINE, _parameters(warp.matrix), np.zeros(3))
        if warp.displacement is not None:
            assert warp.grid is not None
            back = np.linalg.inv(warp.matrix[:3, :3])
            field = np.einsum("ij,jzyx->zyxi", back, np.asarray(warp.displacement))
            grid = warp.grid
            # ITK counts x, y, z: its direction has the x axis in the first column.
            fixed = np.concatenate(
                [grid.shape[::-1], grid.origin, grid.spacing[::-1], grid.direction[:, ::-1].ravel()]
            )
            _part(group, 2, "DisplacementFieldTransform_double_3_3", field.ravel(), fixed)
    temporary.replace(path)


def _part(group: object, number: int, kind: str, parameters: Array, fixed: Array) -> None:
    import h5py

    assert isinstance(group, h5py.Group)
    part = group.create_group(str(number))
    _words(part, "TransformType", kind)
    part["TransformParameters"] = np.asarray(parameters, np.float64)
    part["TransformFixedParameters"] = np.asarray(fixed, np.float64)


def _words(group: object, name: str, text: str) -> None:
    """A string of variable length, the only kind ITK takes."""
    import h5py

    assert isinstance(group, h5py.Group)
    group.create_dataset(name, data=[text], dtype=h5py.string_dtype("ascii"))


def read_composite(path: Path) -> Warp:
    """An affine transform, a field, or a composite of one and the other after it."""
    import h5py

    warp = Warp(matrix=np.eye(4))
    with h5py.File(path, "r") as file:
        group = file.get("TransformGroup")
        if not isinstance(group, h5py.Group):
            raise CorruptFile(f"{path.name} is HDF5 without an ITK TransformGroup")
        for name in sorted(group, key=int):
            item = group[name]
            assert isinstance(item, h5py.Group)
            kind = _text(item["TransformType"])
            if kind.startswith("Composite"):
                continue
            names = [str(k) for k in item]
            values = next(k for k in names if "Fixed" not in k and "Param" in k)
            place = next(k for k in names if "Fixed" in k)
            p, c = _numbers(item, values), _numbers(item, place)
            if kind.startswith("DisplacementField"):
                if warp.displacement is not None:
                    raise UnsupportedFormat(f"{path.name} holds two fields; compose them yourself")
                warp = _with_field(warp.matrix, p, c)
            elif warp.displacement is not None:
                raise UnsupportedFormat(
                    f"{path.name}: an affine part before the field is not read; export the whole "
                    "as one displacement field"
                )
            else:
                warp = Warp(matrix=warp.matrix @ _made(kind, p, c).matrix)
    return warp


def _numbers(group: object, name: str) -> Float:
    import h5py

    assert isinstance(group, h5py.Group)
    return np.asarray(group[name], np.float64).ravel()


def _text(item: object) -> str:
    import h5py

    assert isinstance(item, h5py.Dataset)
    value = np.asarray(item[()]).ravel()[0]
    return value.decode() if isinstance(value, bytes) else str(value)


def _with_field(matrix: Float, p: Float, c: Float) -> Warp:
    shape = tuple(int(n) for n in c[:3][::-1])
    affine = np.eye(4)
    affine[:3, :3] = (c[9:18].reshape(3, 3) * c[6:9])[:, ::-1]
    affine[:3, 3] = c[3:6]
    grid = Grid((shape[0], shape[1], shape[2]), affine)
    field = np.einsum("ij,zyxj->izyx", matrix[:3, :3], p.reshape(*shape, 3))
    return Warp(matrix=matrix, grid=grid, displacement=np.ascontiguousarray(field, np.float32))
