"""WADO-RS and WADO-URI: forms, decoded pixels against pydicom, pictures, caching."""

from __future__ import annotations

import io

import numpy as np
import pydicom
import pytest
from PIL import Image
from starlette.datastructures import Headers, QueryParams
from starlette.exceptions import HTTPException

from somascope.server.dicomweb import frames, wado
from somascope.server.dicomweb.negotiation import accepted, parse

EXPLICIT = "1.2.840.10008.1.2.1"
OCTETS = "application/octet-stream"


def parts(answer) -> list[tuple[str, bytes]]:
    """Content-Type and bytes of each part."""
    boundary = answer.headers["content-type"].split("boundary=")[1].encode()
    found = []
    for piece in answer.content.split(b"--" + boundary)[1:-1]:
        head, _, data = piece.partition(b"\r\n\r\n")
        kind = next(h for h in head.decode().split("\r\n") if h.lower().startswith("content-type"))
        found.append((kind.partition(":")[2].strip(), data[:-2]))
    return found


def stored(web, uid) -> pydicom.Dataset:
    return pydicom.dcmread(io.BytesIO(web.files[uid]))


# ------------------------------------------------------------------------ what the client accepts


def test_accept_grammar():
    one, two = parse(
        'image/jpeg;q=0.4, multipart/related; type="image/jp2"; transfer-syntax=1.2.3;q=0.9'
    )
    assert (one.media, one.inner, one.transfer_syntax) == (
        "multipart/related",
        "image/jp2",
        "1.2.3",
    )
    assert (two.media, two.quality) == ("image/jpeg", 0.4)
    assert parse("a/b;q=0") == ()
    assert (
        parse("multipart/related;type=application/octet-stream;transfer-syntax=*")[0].inner
        == OCTETS
    )
    assert parse('multipart/related; type="application/octet-stream, x"')[0].inner.endswith("x")
    query = accepted(Headers({"accept": "x/y"}), QueryParams("accept=application/dicom+json"))
    assert query[0].media == "application/dicom+json"
    for bad in ("a", "a/b/c", 'a/b; c="d', "a/b c/d", "@/b"):
        with pytest.raises(HTTPException):
            parse(bad)


JP2, RLE = "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.5"


@pytest.mark.parametrize(
    ("accept", "syntax", "alone", "expected"),
    [
        ("*/*", EXPLICIT, True, (True, True, f"{OCTETS}; transfer-syntax={EXPLICIT}")),
        ("*/*", JP2, True, (True, True, f"image/jp2; transfer-syntax={JP2}")),
        (OCTETS, JP2, True, (False, False, f"{OCTETS}; transfer-syntax={EXPLICIT}")),
        (OCTETS, JP2, False, None),
        (f"{OCTETS}; transfer-syntax=*", JP2, True,
         (False, True, f"{OCTETS}; transfer-syntax={JP2}")),
        (f"multipart/related; type={OCTETS}; transfer-syntax=*", RLE, False,
         (True, True, f"{OCTETS}; transfer-syntax={RLE}")),
        (f"multipart/related; type={OCTETS}", RLE, False,
         (True, False, f"{OCTETS}; transfer-syntax={EXPLICIT}")),
        ("multipart/related; type=image/dicom-rle", RLE, False,
         (True, True, f"image/dicom-rle; transfer-syntax={RLE}")),
        (f"multipart/related; type=image/jp2; transfer-syntax={JP2}", JP2, False,
         (True, True, f"image/jp2; transfer-syntax={JP2}")),
        (f"multipart/related; type=image/jp2; transfer-syntax={JP2[:-1]}1", JP2, True, None),
        ("image/jp2", JP2, True, (False, True, f"image/jp2; transfer-syntax={JP2}")),
        ("image/*", JP2, True, (False, True, f"image/jp2; transfer-syntax={JP2}")),
        ("image/jpeg", JP2, True, None),
        ("image/jpeg, */*;q=0.1", JP2, True, (True, True, f"image/jp2; transfer-syntax={JP2}")),
        ("image/jpeg", EXPLICIT, True, None),
        (f"{OCTETS}; transfer-syntax=1.2.840.10008.1.2", "1.2.840.10008.1.2", True,
         (False, True, f"{OCTETS}; transfer-syntax={EXPLICIT}")),
        ("*/*", "1.2.840.10008.1.2.2", True,
         (True, False, f"{OCTETS}; transfer-syntax={EXPLICIT}")),
    ],
)  # fmt: skip
def test_form_of_frames(accept, syntax, alone, expected):
    if expected is None:
        with pytest.raises(HTTPException) as refused:
            frames.choose(parse(accept), syntax, alone=alone)
        assert refused.value.status_code == 406
    else:
        form = frames.choose(parse(accept), syntax, alone=alone)
        assert (form.multipart, form.stored, form.content_type) == expected


def test_form_of_instances(web, uid_of):
    class Stub:
        def __init__(self, syntax):
            self.transfer_syntax = syntax

    one, two = Stub(JP2), Stub(EXPLICIT)
    wanted = 'multipart/related; type="application/dicom"'
    assert wado.choose(parse(wanted), [one]).syntax == EXPLICIT
    assert wado.choose(parse(f"{wanted}; transfer-syntax=*"), [one, two]).syntax == "*"
    assert wado.choose(parse(f"{wanted}; transfer-syntax={JP2}"), [one]).syntax == JP2
    assert not wado.choose(parse("application/dicom"), [one]).multipart
    for bad, found in (
        (f"{wanted}; transfer-syntax={JP2}", [one, two]),
        ("application/dicom", [one, two]),
        ("image/jpeg", [one]),
    ):
        with pytest.raises(HTTPException):
            wado.choose(parse(bad), found)


# ------------------------------------------------------------------------------ bytes and pixels


@pytest.mark.parametrize("name", ["CT_small.dcm", "JPEG2000.dcm", "liver_1frame.dcm", "rtplan.dcm"])
def test_the_stored_file_comes_back_bit_for_bit(web, uid_of, name):
    uid = uid_of(name)
    with web.client(accept="application/dicom; transfer-syntax=*") as client:
        answer = client.get(web.path(uid))
        assert answer.status_code == 200
        assert answer.content[132:] == web.files[uid][132:]  # the preamble is set to zero
        assert int(answer.headers["content-length"]) == len(answer.content)
        several = client.get(
            web.path(uid),
            headers={"accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'},
        )
        ((kind, data),) = parts(several)
        assert data == answer.content
        assert kind.startswith("application/dicom; transfer-syntax=1.2.840.10008.1.2")
        assert int(several.headers["content-length"]) == len(several.content)


@pytest.mark.parametrize(
    "name",
    [
        "CT_small.dcm",
        "MR_small_bigendian.dcm",
        "SC_rgb_rle_2frame.dcm",
        "SC_rgb_small_odd.dcm",
        "examples_palette.dcm",
        "image_dfl.dcm",
        "liver_1frame.dcm",
        "rtdose.dcm",
    ],
)
def test_decoded_frames_and_files_are_pydicoms(web, uid_of, name):
    uid = uid_of(name)
    d = stored(web, uid)
    truth = d.pixel_array  # palette: indices
    many = int(d.get("NumberOfFrames", 1) or 1)
    first = truth[0] if many > 1 else truth
    with web.client() as client:
        answer = client.get(f"{web.path(uid)}/frames/1", headers={"accept": OCTETS})
        assert answer.status_code == 200
        assert EXPLICIT in answer.headers["content-type"]
        if d.BitsAllocated == 1:
            bits = np.unpackbits(np.frombuffer(answer.content, np.uint8), bitorder="little")
            got = bits[: first.size].reshape(first.shape)
        else:
            if (
                d.get("PlanarConfiguration") == 1
                and not d.file_meta.TransferSyntaxUID.is_encapsulated
            ):
                first = first.transpose(2, 0, 1)  # as stored: by plane
            got = np.frombuffer(answer.content, first.dtype.newbyteorder("<")).reshape(first.shape)
        np.testing.assert_array_equal(got, first)
        whole = client.get(web.path(uid), headers={"accept": "application/dicom"})
        back = pydicom.dcmread(io.BytesIO(whole.content))
        assert back.file_meta.TransferSyntaxUID == EXPLICIT
        np.testing.assert_array_equal(back.pixel_array, truth)
        assert back.PatientName == d.PatientName
        bulk = client.get(f"{web.path(uid)}/bulkdata/7FE00010", headers={"accept": OCTETS})
        assert bulk.status_code == 200


def test_compressed_colour_becomes_rgb(web, uid_of):
    import imagecodecs

    uid = uid_of("examples_ybr_color.dcm")
    d = stored(web, uid)
    stream = next(pydicom.encaps.generate_frames(d.PixelData))
    truth = imagecodecs.jpeg8_decode(stream)
    with web.client() as client:
        raw = client.get(f"{web.path(uid)}/frames/1", headers={"accept": OCTETS}).content
        got = np.frombuffer(raw, np.uint8).reshape(truth.shape).astype(int)
        assert np.abs(got - truth).mean() < 2
        assert (
            client.get(f"{web.path(uid)}/frames/1", headers={"accept": "image/jpeg"}).content
            == stream
        )
        back = pydicom.dcmread(
            io.BytesIO(client.get(web.path(uid), headers={"accept": "application/dicom"}).content)
        )
        assert back.PhotometricInterpretation == "RGB"
        assert back.pixel_array.shape == (d.NumberOfFrames, *truth.shape)


def test_what_is_not_there(web):
    base = f"/dicom-web/studies/{web.study}"
    with web.client() as client:
        for path in (
            "/dicom-web/studies/1.2.3",
            "/dicom-web/studies/1.2.3/metadata",
            f"{base}/series/1.2.3",
            f"{base}/series/1.2.3/metadata",
            f"{base}/series/{web.series}/instances/1.2.3",
            f"{base}/series/{web.series}/instances/1.2.3/frames/1",
            f"{base}/series/{web.series}/instances/1.2.3/metadata",
            f"{base}/series/1.2.3/instances/{web.series}.1/frames/1",
            f"/dicom-web/studies/1.2.3/series/{web.series}/instances/{web.series}.1/frames/1",
            f"{web.ct}/instances/{web.series}.1/frames/2",
            f"{web.ct}/instances/{web.series}.1/bulkdata/00420011",
            "/dicom-web/studies/1.2.3/thumbnail",
        ):
            assert client.get(path).status_code == 404, path


def test_no_pixels_is_said(web, uid_of):
    path = web.path(uid_of("rtplan.dcm"))
    with web.client() as client:
        for tail in ("/frames/1", "/rendered", "/thumbnail", "/bulkdata/7FE00010"):
            assert client.get(path + tail).status_code in (404, 406), tail


def test_metadata_is_kept_by_the_client(web):
    with web.client() as client:
        first = client.get(f"{web.ct}/metadata")
        assert first.headers["content-type"] == "application/dicom+json"
        again = client.get(f"{web.ct}/metadata", headers={"if-none-match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        other = client.get(f"{web.ct}/metadata", headers={"if-none-match": '"x"'})
        assert other.json() == first.json()
        assert "no-cache" in first.headers["cache-control"]


# ------------------------------------------------------------------------------------- pictures


def picture(answer) -> np.ndarray:
    assert answer.status_code == 200, answer.text
    return np.asarray(Image.open(io.BytesIO(answer.content)))


def test_windows(web):
    uid = f"{web.series}.3"
    hu = stored(web, uid).pixel_array.astype(float) - 1024
    path = f"{web.ct}/instances/{uid}/rendered"
    with web.client(accept="image/png") as client:
        own = picture(client.get(path))  # 40/400 of the instance, PS3.3 C.11.2.1.2.1
        truth = np.clip((hu - 39.5) / 399 + 0.5, 0, 1) * 255
        assert np.abs(own - truth).max() <= 1
        sigmoid = picture(client.get(f"{path}?window=0,500,sigmoid"))
        assert np.abs(sigmoid - 255 / (1 + np.exp(-4 * hu / 500))).max() <= 1
        exact = picture(client.get(f"{path}?window=-500,1000,linear-exact"))
        assert np.abs(exact - np.clip((hu + 500) / 1000 + 0.5, 0, 1) * 255).max() <= 1


def test_viewports(web):
    path = f"{web.ct}/instances/{web.series}.3/rendered"
    with web.client(accept="image/png") as client:
        whole = picture(client.get(path))
        assert picture(client.get(f"{path}?viewport=64,100")).shape == (64, 64)
        part = picture(client.get(f"{path}?viewport=8,8,4,6,8,8"))
        np.testing.assert_array_equal(part, whole[6:14, 4:12])
        mirrored = picture(client.get(f"{path}?viewport=32,32,0,0,-32,32"))
        np.testing.assert_array_equal(mirrored, whole[:, ::-1])


def test_monochrome1_is_inverted(fresh_web, make_slice):
    web = fresh_web()
    d = pydicom.dcmread(io.BytesIO(make_slice(1)))
    pair = []
    for n, photometric in enumerate(("MONOCHROME1", "MONOCHROME2")):
        d.PhotometricInterpretation = photometric
        d.SOPInstanceUID = d.file_meta.MediaStorageSOPInstanceUID = f"{web.series}.{n + 1}"
        out = io.BytesIO()
        d.save_as(out)
        with web.client(accept="image/png") as client:
            client.post(
                "/dicom-web/studies",
                content=out.getvalue(),
                headers={"content-type": "application/dicom", "accept": "*/*"},
            )
            pair.append(picture(client.get(f"{web.ct}/instances/{web.series}.{n + 1}/rendered")))
    np.testing.assert_array_equal(pair[0], 255 - pair[1])


@pytest.mark.parametrize(
    "name", ["examples_palette.dcm", "SC_rgb_small_odd.dcm", "examples_ybr_color.dcm"]
)
def test_colour_pictures(web, uid_of, name):
    uid = uid_of(name)
    d = stored(web, uid)
    with web.client(accept="image/png") as client:
        got = picture(client.get(f"{web.path(uid)}/rendered")).astype(int)
    assert got.shape == (d.Rows, d.Columns, 3)
    if name == "examples_palette.dcm":
        from pydicom.pixels import apply_color_lut

        truth = apply_color_lut(d.pixel_array, d)[..., :3]
        if truth.dtype == np.uint16:
            truth = truth / 257
        assert np.abs(got - truth).max() <= 1
    elif name == "SC_rgb_small_odd.dcm":
        np.testing.assert_array_equal(got, d.pixel_array)


def test_kinds_of_pictures(web, uid_of):
    path = web.path(uid_of("rtdose.dcm"))
    with web.client() as client:
        jpeg = client.get(f"{path}/frames/2/rendered", headers={"accept": "image/jpeg"})
        assert jpeg.headers["content-type"] == "image/jpeg"
        rough = client.get(f"{web.ct}/instances/{web.series}.1/rendered?quality=5")
        fine = client.get(f"{web.ct}/instances/{web.series}.1/rendered?quality=100")
        assert len(rough.content) < len(fine.content)
        several = client.get(
            f"{path}/frames/1,3/rendered", headers={"accept": "multipart/related; type=image/png"}
        )
        assert [kind for kind, _ in parts(several)] == ["image/png"] * 2
        series = client.get(
            f"{web.ct}/rendered", headers={"accept": "multipart/related; type=image/jpeg"}
        )
        assert len(parts(series)) == 6
        assert client.get(f"{path}/rendered", headers={"accept": "image/gif"}).status_code == 406
        linked = client.get(f"{path}/rendered?accept=image/png", headers={"accept": "text/html"})
        assert linked.headers["content-type"] == "image/png"


def test_thumbnails(web):
    base = f"/dicom-web/studies/{web.study}"
    with web.client() as client:
        for path in (base, f"{base}/series/{web.series}", f"{web.ct}/instances/{web.series}.1"):
            answer = client.get(f"{path}/thumbnail")
            assert picture(answer).shape == (32, 32)  # never enlarged
            assert answer.headers["content-type"] == "image/jpeg"
            assert picture(client.get(f"{path}/thumbnail?viewport=16,16")).shape == (16, 16)
            assert client.get(f"{path}/thumbnail").content == answer.content


# ------------------------------------------------------------------------------------- WADO-URI


def test_wado_uri(web, uid_of):
    uid = f"{web.series}.2"
    query = {
        "requestType": "WADO",
        "studyUID": web.study,
        "seriesUID": web.series,
        "objectUID": uid,
    }
    with web.client() as client:
        jpeg = client.get("/wado", params=query)
        assert jpeg.headers["content-type"] == "image/jpeg"
        assert picture(jpeg).shape == (32, 32)
        whole = client.get("/wado", params={**query, "contentType": "application/dicom"})
        assert whole.content == web.files[uid]
        png = client.get(
            "/wado",
            params={
                **query,
                "contentType": "image/png",
                "windowCenter": "0",
                "windowWidth": "400",
                "rows": "16",
                "columns": "16",
            },
        )
        assert picture(png).shape == (16, 16)
        plan = stored(web, uid_of("rtplan.dcm"))
        other = {
            "requestType": "WADO",
            "studyUID": plan.StudyInstanceUID,
            "seriesUID": plan.SeriesInstanceUID,
            "objectUID": plan.SOPInstanceUID,
        }
        assert client.get("/wado", params=other).headers["content-type"] == "application/dicom"
        j2k = stored(web, uid_of("JPEG2000.dcm"))
        decoded = client.get(
            "/wado",
            params={
                "requestType": "WADO",
                "studyUID": j2k.StudyInstanceUID,
                "seriesUID": j2k.SeriesInstanceUID,
                "objectUID": j2k.SOPInstanceUID,
                "contentType": "application/dicom",
                "transferSyntax": EXPLICIT,
            },
        )
        back = pydicom.dcmread(io.BytesIO(decoded.content))
        assert back.file_meta.TransferSyntaxUID == EXPLICIT
        for bad, status in (
            ({"requestType": "x"}, 400),
            ({"objectUID": ""}, 400),
            ({"objectUID": "1.2.3"}, 404),
            ({"objectUID": "../../x"}, 400),
            ({"contentType": "text/html"}, 406),
            ({"frameNumber": "7"}, 404),
            ({"windowCenter": "x", "windowWidth": "1"}, 400),
            ({"rows": "0"}, 400),
            ({"imageQuality": "101"}, 400),
            ({"contentType": "application/dicom", "transferSyntax": "1.2.3"}, 406),
        ):
            assert client.get("/wado", params={**query, **bad}).status_code == status, bad


def test_pixels_that_were_sent_spoilt(fresh_web, pydicom_files):
    """Kept as sent and given as sent; only what needs its pixels is refused, with a reason."""
    web = fresh_web()
    d = pydicom.dcmread(pydicom_files / "JPEG2000.dcm")
    whole = (pydicom_files / "JPEG2000.dcm").read_bytes()
    stream = next(pydicom.encaps.generate_frames(d.PixelData))
    spoilt = whole.replace(stream[:200], stream[:60] + bytes(140))
    assert spoilt != whole
    with web.client() as client:
        kept = client.post(
            "/dicom-web/studies", content=spoilt, headers={"content-type": "application/dicom"}
        )
        assert kept.status_code == 200
        path = (
            f"/dicom-web/studies/{d.StudyInstanceUID}/series/{d.SeriesInstanceUID}"
            f"/instances/{d.SOPInstanceUID}"
        )
        for tail, accept in (
            ("/frames/1", OCTETS),
            ("", "application/dicom"),
            ("", 'multipart/related; type="application/dicom"'),
            ("/rendered", "image/png"),
            ("/rendered", "multipart/related; type=image/png"),
            ("/bulkdata/7FE00010", OCTETS),
        ):
            answer = client.get(path + tail, headers={"accept": accept})
            assert answer.status_code == 406, tail
            assert "decoded" in answer.json()["detail"]
        assert client.get(
            path, headers={"accept": "application/dicom; transfer-syntax=*"}
        ).is_success
        assert client.get(f"{path}/metadata").is_success
