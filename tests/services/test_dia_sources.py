"""The sources of a difference image as a user has them: by TAP, in its file, by DataLink."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
import sqlalchemy as sa
from astropy.io import fits
from astropy.io.votable.ucd import parse_ucd
from astropy.table import Table
from astropy.units import Unit

from app.pixels.dia_sources import THRESHOLD
from app.schema.dia_source import DIA_SOURCE
from app.services.links import LinkService
from app.services.signatures import FileSigner
from app.stores.database import write_transaction
from app.uws.job import Phase
from tests.services.builds_fixture import Field, now
from tests.services.survey import SCALE_ARCSEC, TRANSIENT, TRANSIENT_FLUX, ZERO_POINT_MAG
from tests.services.test_builds import SCIENCE, select

NEAR_THE_TRANSIENT = (
    "SELECT d.*, o.obs_publisher_did AS image, o.t_min FROM skyloom.dia_source AS d "
    "JOIN ivoa.ObsCore AS o ON o.obs_publisher_did = d.obs_publisher_did "
    f"WHERE CONTAINS(POINT(d.ra, d.dec), CIRCLE({TRANSIENT[0]}, {TRANSIENT[1]}, 0.0003)) = 1"
)
LEAP_SECONDS = 37.0


def build(field: Field, **parameters: object) -> str:
    """Build the difference; its identifier."""
    job = field.run("difference", ID=SCIENCE.dataset_id, **parameters)
    assert job.phase is Phase.COMPLETED, job.error
    return str(job.results[0].dataset_id)


@pytest.mark.parametrize("method", ["kernel", "zogy"])
def test_the_transient_is_found_by_its_place(field: Field, method: str) -> None:
    product_id = build(field, METHOD=method)
    (row,) = select(field, NEAR_THE_TRANSIENT)
    njy = 10 ** (0.4 * (31.4 - ZERO_POINT_MAG))
    assert row["image"] == row["obs_publisher_did"] == product_id
    distance = np.hypot((row["ra"] - TRANSIENT[0]), row["dec"] - TRANSIENT[1]) * 3600
    assert distance < 0.3 * SCALE_ARCSEC
    assert 0 < 3600 * row["ra_err"] < 0.2 * SCALE_ARCSEC
    assert row["psf_flux"] == pytest.approx(njy * TRANSIENT_FLUX, abs=4 * row["psf_flux_err"])
    assert row["psf_flux"] == pytest.approx(njy * row["psf_inst_flux"])
    assert row["science_flux"] - row["template_flux"] == pytest.approx(row["psf_flux"], rel=0.05)
    assert row["ap_flux"] == pytest.approx(row["psf_flux"], abs=4 * row["ap_flux_err"])
    assert (row["is_negative"], row["is_dipole"], row["centroid_flag"]) == (0, 0, 0)
    assert row["reliability"] > 0.5 and row["snr"] > 10
    middle = row["t_min"] + (15.0 + LEAP_SECONDS) / 86400
    assert row["midpoint_mjd_tai"] == pytest.approx(middle, abs=1e-7)
    assert (row["band"], row["dipole_length"]) == ("i", None)


def test_file_table_and_counts_agree(field: Field) -> None:
    product_id = build(field)
    product = field.builds.get_product(product_id)
    rows = select(field, "SELECT * FROM skyloom.dia_source ORDER BY dia_source_id")
    with fits.open(product.file_path) as hdus:
        hdu, header = hdus["DIASOURCES"], hdus[0].header
        written = Table(hdu.data)
        mask = hdus["MASK"]
        detected = mask.data & (1 << mask.header["MP_DETECTED"]) != 0
        cards = {key: hdu.header[key] for key in hdu.header if key[:4] in ("TUNI", "TUCD", "TCOM")}
    assert len(rows) == len(written) == header["NDIASRC"] > 0
    assert header["DIATHRES"] == THRESHOLD
    counted = select(field, "SELECT n_dia_sources FROM skyloom.build_quality")
    assert counted == [{"n_dia_sources": len(rows)}]
    assert len({row["dia_source_id"] for row in rows}) == len(rows)
    for row, same in zip(rows, written, strict=True):
        for field_ in DIA_SOURCE.fields:
            value = same[field_.name]
            if row[field_.name] is None:
                assert np.isnan(value), field_.name
            else:
                assert row[field_.name] == value, field_.name
        if not row["is_negative"]:
            assert detected[round(row["y"]), round(row["x"])]
    for number, field_ in enumerate(DIA_SOURCE.fields, start=1):
        assert cards.get(f"TUNIT{number}") == field_.unit
        assert cards[f"TUCD{number}"] == field_.ucd
        assert cards[f"TCOMM{number}"] == field_.description


def test_what_is_built_again_is_the_same(field: Field) -> None:
    product_id = build(field)
    query = "SELECT * FROM skyloom.dia_source ORDER BY dia_source_id"
    first = select(field, query)
    path = Path(field.builds.get_product(product_id).file_path)
    content = path.read_bytes()
    path.unlink()
    assert build(field) == product_id
    assert path.read_bytes() == content
    assert select(field, query) == first
    assert len(select(field, NEAR_THE_TRANSIENT)) == 1


def test_sources_go_with_their_image(field: Field) -> None:
    product_id = build(field)
    with write_transaction(field.stores.engine) as connection:
        connection.execute(
            sa.text("DELETE FROM obscore WHERE obs_publisher_did = :name"), {"name": product_id}
        )
    assert select(field, "SELECT * FROM skyloom.dia_source") == []
    assert select(field, NEAR_THE_TRANSIENT) == []


def test_differences_of_the_same_exposure_keep_their_own_sources(field: Field) -> None:
    one, other = build(field), build(field, MAX_INPUTS=3)
    near = select(field, NEAR_THE_TRANSIENT)
    assert sorted(str(row["image"]) for row in near) == sorted([one, other])
    assert len({row["dia_source_id"] for row in near}) == 2


def test_links_of_a_difference_lead_to_its_sources(field: Field) -> None:
    product_id = build(field)
    signer = FileSigner(keys=lambda: [b"k" * 32], clock=now, lifetime_s=60)
    links = LinkService(datasets=field.stores.datasets, signer=signer)
    found = links.find_links([product_id], "http://x").links
    (link,) = [each for each in found if each.local_semantics == "dia-sources"]
    assert (link.semantics, link.content_type) == ("#derivation", "application/x-votable+xml")
    address = urlsplit(link.access_url or "")
    asked = parse_qs(address.query)
    assert (address.netloc, address.path, asked["LANG"]) == ("x", "/tap/sync", ["ADQL"])
    rows = select(field, asked["QUERY"][0])
    assert rows == select(field, "SELECT * FROM skyloom.dia_source") and rows
    of_the_science = links.find_links([SCIENCE.dataset_id], "http://x").links
    assert "dia-sources" not in {each.local_semantics for each in of_the_science}


def test_every_column_is_described() -> None:
    for column in DIA_SOURCE.fields:
        parse_ucd(column.ucd or "", check_controlled_vocabulary=True, has_colon=True)
        assert column.description, column.name
        if column.unit is not None:
            Unit(column.unit, format="vounit")
