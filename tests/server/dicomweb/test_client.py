"""Everything that the `dicomweb-client` package does, against the bytes that were stored."""

from __future__ import annotations

import io

import numpy as np
import pydicom
import pytest
from dicomweb_client.api import DICOMwebClient
from requests.exceptions import HTTPError

pytestmark = pytest.mark.filterwarnings(
    "ignore::UserWarning:pydicom", "ignore::UserWarning:dicomweb_client"
)


@pytest.fixture(scope="module")
def client(web):
    return DICOMwebClient(web.dicomweb)


def read(data: bytes) -> pydicom.Dataset:
    return pydicom.dcmread(io.BytesIO(data))


def test_search_studies(client, web):
    found = client.search_for_studies()
    assert {d["0020000D"]["Value"][0] for d in found} == {
        read(data).StudyInstanceUID for data in web.files.values()
    }
    ours = client.search_for_studies(search_filters={"PatientID": "PHANTOM1"})
    assert len(ours) == 1
    assert ours[0]["00100010"]["Value"][0]["Alphabetic"] == "Phantom^Web"
    assert ours[0]["00201208"]["Value"] == [6]
    assert ours[0]["00081190"]["Value"] == [f"{web.dicomweb}/studies/{web.study}"]


def test_search_series_and_instances(client, web):
    series = client.search_for_series(study_instance_uid=web.study)
    assert [d["0020000E"]["Value"][0] for d in series] == [web.series]
    assert series[0]["00081190"]["Value"] == [
        f"{web.dicomweb}/studies/{web.study}/series/{web.series}"
    ]
    instances = client.search_for_instances(
        study_instance_uid=web.study, series_instance_uid=web.series
    )
    assert [d["00200013"]["Value"][0] for d in instances] == [1, 2, 3, 4, 5, 6]
    assert len(client.search_for_instances(study_instance_uid=web.study)) == 6
    assert len(client.search_for_series(search_filters={"Modality": "CT"})) >= 2
    by_tag = client.search_for_instances(search_filters={"00080018": f"{web.series}.3"})
    assert by_tag[0]["00200013"]["Value"] == [3]


def test_paging_gives_every_instance_once(client, web):
    pages = [
        client.search_for_instances(study_instance_uid=web.study, limit=4, offset=offset)
        for offset in (0, 4)
    ]
    uids = [d["00080018"]["Value"][0] for page in pages for d in page]
    assert len(uids) == len(set(uids)) == 6
    assert client.search_for_instances(study_instance_uid=web.study, offset=6) == []


def test_retrieve_series_is_what_was_stored(client, web):
    found = client.retrieve_series(web.study, web.series, media_types=(("application/dicom", "*"),))
    assert len(found) == 6
    for d in found:
        assert d.PixelData == read(web.files[d.SOPInstanceUID]).PixelData


def test_retrieve_study_and_instance(client, web):
    assert len(client.retrieve_study(web.study)) == 6
    one = client.retrieve_instance(web.study, web.series, f"{web.series}.2")
    assert one == read(web.files[f"{web.series}.2"])


@pytest.mark.parametrize(
    "name",
    ["MR_small_bigendian.dcm", "JPEG2000.dcm", "SC_rgb_rle_2frame.dcm", "image_dfl.dcm"],
)
def test_retrieve_in_explicit_little_endian(client, web, uid_of, pydicom_files, name):
    """The standard's default transfer syntax: another codec's pixels, the same attributes."""
    stored = pydicom.dcmread(pydicom_files / name)
    found = client.retrieve_instance(
        stored.StudyInstanceUID,
        stored.SeriesInstanceUID,
        uid_of(name),
        media_types=("application/dicom",),
    )
    assert found.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
    if name == "JPEG2000.dcm":  # no decoder of pydicom's is installed; imagecodecs is another
        import imagecodecs

        truth = imagecodecs.jpeg2k_decode(next(pydicom.encaps.generate_frames(stored.PixelData)))
    else:
        truth = stored.pixel_array
    np.testing.assert_array_equal(found.pixel_array, truth)
    for keyword in ("PatientName", "StudyDate", "Rows", "SOPClassUID"):
        assert found.get(keyword) == stored.get(keyword)


def test_metadata(client, web):
    found = client.retrieve_series_metadata(web.study, web.series)
    assert [d["00200013"]["Value"][0] for d in found] == [1, 2, 3, 4, 5, 6]
    truth = read(web.files[f"{web.series}.1"])
    described = pydicom.Dataset.from_json(found[0])
    for element in truth:
        if element.keyword != "PixelData":
            assert described[element.tag].value == element.value, element
    assert "7FE00010" not in found[0] or "BulkDataURI" in found[0]["7FE00010"]
    assert len(client.retrieve_study_metadata(web.study)) == 6
    one = client.retrieve_instance_metadata(web.study, web.series, f"{web.series}.4")
    assert one["00200013"]["Value"] == [4]


def test_frames_as_stored(client, web):
    truth = read(web.files[f"{web.series}.5"]).PixelData
    for media in (None, ("application/octet-stream",), (("application/octet-stream", "*"),)):
        frames = client.retrieve_instance_frames(
            web.study, web.series, f"{web.series}.5", [1], media_types=media
        )
        assert frames == [truth]


def test_frames_of_a_multiframe_instance(client, web, uid_of):
    d = read(web.files[uid_of("rtdose.dcm")])
    n = d.Rows * d.Columns * 4
    wanted = [3, 1, 15]
    frames = client.retrieve_instance_frames(
        d.StudyInstanceUID, d.SeriesInstanceUID, d.SOPInstanceUID, wanted
    )
    assert frames == [d.PixelData[(k - 1) * n : k * n] for k in wanted]


def test_compressed_frames_under_their_media_type(client, web, uid_of):
    d = read(web.files[uid_of("JPEG2000.dcm")])
    stream = next(pydicom.encaps.generate_frames(d.PixelData, number_of_frames=1))
    place = (d.StudyInstanceUID, d.SeriesInstanceUID, d.SOPInstanceUID, [1])
    syntax = str(d.file_meta.TransferSyntaxUID)
    assert client.retrieve_instance_frames(*place, media_types=(("image/jp2", syntax),)) == [stream]
    (raw,) = client.retrieve_instance_frames(*place, media_types=("application/octet-stream",))
    import imagecodecs

    assert raw == imagecodecs.jpeg2k_decode(stream).astype("<i2").tobytes()
    with pytest.raises(HTTPError, match="406"):
        client.retrieve_instance_frames(*place, media_types=("image/jls",))


def test_rendered(client, web):
    from PIL import Image

    place = (web.study, web.series, f"{web.series}.1")
    png = client.retrieve_instance_rendered(
        *place, media_types=("image/png",), params={"window": "0,400,linear-exact"}
    )
    shown = np.asarray(Image.open(io.BytesIO(png)))
    stored = read(web.files[f"{web.series}.1"]).pixel_array.astype(float) - 1024
    truth = np.clip((stored - 0) / 400 + 0.5, 0, 1) * 255
    assert np.abs(shown - truth).max() <= 1
    jpeg = client.retrieve_instance_frames_rendered(*place, [1], media_types=("image/jpeg",))
    assert Image.open(io.BytesIO(jpeg)).size == (32, 32)


def test_bulk_data_by_its_uri(client, web, uid_of):
    d = read(web.files[uid_of("waveform_ecg.dcm")])
    meta = client.retrieve_instance_metadata(
        d.StudyInstanceUID, d.SeriesInstanceUID, d.SOPInstanceUID
    )
    wave = meta["54000100"]["Value"][0]["54001010"]
    assert wave["BulkDataURI"].startswith(web.dicomweb)
    (data,) = client.retrieve_bulkdata(wave["BulkDataURI"])
    assert data == d.WaveformSequence[0].WaveformData


def test_store_and_delete_nothing(fresh_web, make_slice):
    web = fresh_web()
    client = DICOMwebClient(web.dicomweb)
    answer = client.store_instances([read(make_slice(n)) for n in (1, 2, 3)])
    assert len(answer.ReferencedSOPSequence) == 3
    assert "FailedSOPSequence" not in answer
    assert len(client.retrieve_study(web.study)) == 3
    with pytest.raises(HTTPError, match="405"):
        client.delete_study(web.study)
    assert len(client.search_for_instances(web.study)) == 3
