"""The frames that an exposure was calibrated with, from its header to its links."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.io.votable import parse
from astropy.table import Table
from starlette.testclient import TestClient

from app.config import Config
from app.errors import UsageError
from app.main import create_app
from app.services.ingest.profile_reader import parse_profile
from app.services.ingest.report import IngestReport
from app.wiring_database import initialise
from app.wiring_images import open_ingest

PROFILE = """
[calibration]
folders = ["../frames", "../older"]
fringe = { cards = ["FRINGE"], match = '.*', take = '\\g<0>_frg' }
"""
NAMED = {"bias", "flat", "dark", "fringe", "illumination", "bad_pixels"}
NAMES = {
    "BIASFIL": "DEC18A-57110Z_42.fits",
    "FLATFIL": "cal$DEC18A-57110rF_42[N6]",
    "DARKFIL": "/data/pipeline/dark_300s.fits",
    "FRINGE": "DES17B-z-42",
}


def _image(path: Path) -> None:
    header = fits.Header(
        {
            "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 62.0, "CRVAL2": -37.0,
            "CRPIX1": 16.5, "CRPIX2": 16.5, "CD1_1": -1e-4, "CD2_2": 1e-4, "FILTER": "r",
            "MJD-OBS": 60000.0, "EXPTIME": 30.0, **NAMES,
        }
    )  # fmt: skip
    flux = np.random.default_rng(1).normal(100, 10, (32, 32)).astype(np.float32)
    path.parent.mkdir()
    fits.PrimaryHDU(flux, header).writeto(path)


def _ingest(folder: Path, profile: str) -> tuple[TestClient, IngestReport]:
    config = Config(data_dir=folder / "data", workers=1)
    initialise(config)
    (folder / "profile.toml").write_text(profile)
    with open_ingest(config) as service:
        report = service.run(
            [folder / "images"], collection="night", profile=folder / "profile.toml"
        )
    return TestClient(create_app(config), base_url="http://sky.test"), report


def _links(client: TestClient) -> Table:
    found = client.get("/datalink/links", params={"ID": "ivo://skyloom.local/night?a"})
    return parse(io.BytesIO(found.content)).get_first_table().to_table()


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """An exposure, and two of the frames that its header names."""
    _image(tmp_path / "images" / "a.fits")
    for name in ("frames/DEC18A-57110rF_42.fits.fz", "older/DEC18A-57110Z_42.fits"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(name.encode())
    return tmp_path


def test_frames_that_a_header_names_are_links_to_their_files(archive: Path) -> None:
    client, report = _ingest(archive, PROFILE)
    links = _links(client)
    found = {str(row["semantics"]): row for row in links if row["local_semantics"] in NAMED}
    assert set(found) == {"#bias", "#flat"}
    flat = client.get(str(found["#flat"]["access_url"]))
    assert flat.content == b"frames/DEC18A-57110rF_42.fits.fz"
    assert found["#flat"]["content_length"] == len(flat.content)
    assert client.get(str(found["#bias"]["access_url"])).content == b"older/DEC18A-57110Z_42.fits"
    notes = json.dumps(report.to_json())
    assert "dark dark_300s.fits" in notes and "fringe DES17B-z-42_frg" in notes
    assert "bias" not in notes and "flat" not in notes


def test_a_package_is_of_the_image_alone_and_a_lost_frame_is_not_found(archive: Path) -> None:
    client, _ = _ingest(archive, PROFILE)
    links = {str(row["semantics"]): str(row["access_url"]) for row in _links(client)}
    with tarfile.open(fileobj=io.BytesIO(client.get(links["#package"]).content)) as package:
        assert package.getnames() == ["a/a.fits", "a/about.json"]
    (archive / "frames" / "DEC18A-57110rF_42.fits.fz").unlink()
    assert client.get(links["#flat"]).status_code == 404
    assert client.get(links["#this"]).status_code == 200


def test_without_folders_nothing_is_looked_for(archive: Path) -> None:
    client, report = _ingest(archive, "")
    assert not NAMED & {str(row["local_semantics"]) for row in _links(client)}
    assert "not there" not in json.dumps(report.to_json())


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("[calibration]\nfolder = ['x']", "calibration.folder"),
        ("[calibration]\nfolders = [3]", "calibration.folders"),
        ("[calibration]\nflat = { cards = 3 }", "calibration.flat.cards"),
    ],
)
def test_a_wrong_section_is_named(text: str, key: str) -> None:
    with pytest.raises(UsageError, match=key):
        parse_profile(text)
