"""Links as clients follow them: pyvo, STILTS, and by hand."""

from __future__ import annotations

import io
import json
import re
import subprocess
import tarfile
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from astropy.io import fits
from astropy.io.votable import parse
from astropy.table import Table
from pyvo.dal.adhoc import DatalinkQuery, DatalinkResults

from tests.http.archive import (
    DATALINK,
    LINK_LIFETIME_S,
    Archive,
    add_images,
    open_archive,
    serving,
)
from tests.waiting import web
from tests.xsd import assert_valid_votable

IMAGE = "ivo://skyloom.test/demo?Visit-0"
UNUSED = "ivo://skyloom.test/demo?Visit-2"
PRODUCT = "ivo://skyloom.test/products?template/1"
EVERYTHING = [
    "#this", "#weight", "#preview", "#preview-image", "#thumbnail", "#package", "#documentation",
    "#derivation", "#coderived", "#coderived", "#counterpart",
    *["#proc"] * 4, *["#cutout"] * 2, *["#proc"] * 3,
]  # fmt: skip
NEWER_TERMS = ("thumbnail", "package", "documentation", "coderived", "counterpart")
"""Of www.ivoa.net/rdf/datalink/core since the list that Debian's STILTS knows (2014)."""


def _links(client: httpx.Client, *ids: str, **more: str) -> Table:
    answer = client.get("/datalink/links", params={"ID": list(ids), **more})
    assert answer.status_code == 200, answer.text
    assert_valid_votable(answer.content)
    return parse(io.BytesIO(answer.content)).get_first_table().to_table()


def _semantics(table: Table) -> list[str]:
    return [str(value) for value in table["semantics"]]


def test_an_image_has_its_files_its_products_and_its_builds(client: httpx.Client) -> None:
    table = _links(client, IMAGE)
    assert _semantics(table) == EVERYTHING
    this = table[0]
    assert this["content_type"] == "application/fits"
    data = web.get(str(this["access_url"]))
    assert len(data.content) == this["content_length"]
    with fits.open(io.BytesIO(data.content)) as hdus:
        assert (hdus[0].data == 0).all()
    with fits.open(io.BytesIO(web.get(str(table[1]["access_url"])).content)) as hdus:
        assert (hdus[0].data == 1).all()
    (product,) = [row for row in table if row["semantics"] == "#derivation"]
    assert str(product["content_type"]) == DATALINK
    assert {"#this", "#progenitor", "#proc"} < set(_semantics(_follow(product)))


def _follow(row: Table.Row) -> Table:
    content = web.get(str(row["access_url"])).content
    return parse(io.BytesIO(content)).get_first_table().to_table()


def test_a_product_names_the_inputs_it_used(client: httpx.Client) -> None:
    table = _links(client, PRODUCT)
    inputs = [row for row in table if row["semantics"] == "#progenitor"]
    assert len(inputs) == 2
    assert not any("Visit-2" in str(row["description"]) for row in inputs)
    assert {str(_follow(row)[0]["ID"]) for row in inputs} == {
        IMAGE,
        "ivo://skyloom.test/demo?Visit-1",
    }
    assert "#derivation" not in _semantics(_links(client, UNUSED))


def test_several_identifiers_stay_in_order_and_unknown_ones_say_so(client: httpx.Client) -> None:
    table = _links(client, UNUSED, "ivo://no/such?one", IMAGE.upper())
    order = list(dict.fromkeys(str(value) for value in table["ID"]))
    assert order == [UNUSED, "ivo://no/such?one", IMAGE]
    (fault,) = [row for row in table if row["error_message"]]
    assert str(fault["error_message"]).startswith("NotFoundFault: ")
    assert fault["semantics"] == "#this"


def test_no_identifier_gives_an_empty_table(client: httpx.Client) -> None:
    assert len(_links(client)) == 0


def test_post_and_formats(client: httpx.Client) -> None:
    answer = client.post("/datalink/links", data={"id": [IMAGE, PRODUCT]})
    assert answer.headers["content-type"] == DATALINK
    assert b"links-1.1" in answer.content
    for accepted in ("votable", "application/x-votable+xml", DATALINK):
        table = _links(client, IMAGE, RESPONSEFORMAT=accepted)
        assert len(table) == len(EVERYTHING)
    refused = client.get("/datalink/links", params={"ID": IMAGE, "RESPONSEFORMAT": "text/html"})
    assert refused.status_code == 400
    assert "UsageFault: Parameter RESPONSEFORMAT" in refused.text


def test_too_many_identifiers_are_cut_between_identifiers(tmp_path: Path) -> None:
    with open_archive(tmp_path, max_ids=2) as archive:
        ids = add_images(archive)
        with serving(archive.app) as url:
            answer = web.get(f"{url}/datalink/links", params={"ID": ids})
    table = parse(io.BytesIO(answer.content)).get_first_table().to_table()
    assert set(table["ID"]) == set(ids[:2])
    assert 'value="OVERFLOW"' in answer.text


def test_pyvo_reads_links_and_services(archive: Archive) -> None:
    links = DatalinkResults.from_result_url(f"{archive.url}/datalink/links?ID={IMAGE}")
    (this,) = links.bysemantics("#this", include_narrower=False)
    assert web.get(this.access_url).status_code == 200
    assert len(list(links.iter_procs())) == 9
    template = links.get_first_proc()
    assert template.access_url == f"{archive.url}/builds/template/sync"
    names = [parameter.name for parameter in template.input_params]
    assert names[:2] == ["ID", "BAND"]
    assert {"FWHM_FRACTION", "TIME", "EXCLUDE_TIME", "TEMPLATE_IDS"} <= set(names)
    resource = links.get_adhocservice_by_id(template.service_def)
    query = DatalinkQuery.from_resource(template, resource, FWHM_FRACTION=0.5)
    assert dict(query) == {"ID": IMAGE, "BAND": "i", "FWHM_FRACTION": "0.5"}


@pytest.mark.needs("stilts")
@pytest.mark.parametrize("identifier", [IMAGE, PRODUCT, "ivo://no/such?one"])
def test_stilts_datalinklint(archive: Archive, identifier: str) -> None:
    url = f"{archive.url}/datalink/links?ID={identifier}"
    command = ["stilts", "datalinklint", f"votable={url}"]
    report = subprocess.run(command, capture_output=True, text=True, check=False)
    findings = re.findall(r"^[EWF]-.*$", report.stdout + report.stderr, re.M)
    newer = rf"E-SMCO-\d+ Unknown predicate '({'|'.join(NEWER_TERMS)})' from core DataLink .*"
    assert [each for each in findings if not re.fullmatch(newer, each)] == []


def test_datasets_of_one_kind_share_the_description_of_a_service(archive: Archive) -> None:
    ids = [IMAGE, UNUSED, PRODUCT]
    asked = web.post(f"{archive.url}/datalink/links", data={"ID": ids})
    document = parse(io.BytesIO(asked.content))
    services = [each.ID for each in document.resources if each.utype == "adhoc:service"]
    assert services == [
        "template_sync", "template_async", "difference_sync", "difference_async",
        "soda_sync", "soda_async", "psf", "lightcurve", "stamps",
    ]  # fmt: skip
    rows = document.get_first_table().to_table()
    for identifier, count in ((IMAGE, 7), (UNUSED, 7), (PRODUCT, 3)):
        own = rows[rows["ID"] == identifier]
        assert sum(own["semantics"] == "#proc") == count
    links = DatalinkResults.from_result_url(
        f"{archive.url}/datalink/links?" + "&".join(f"ID={quote(name)}" for name in ids)
    )
    second = next(each for each in links.iter_procs() if each["ID"] == UNUSED)
    resource = links.get_adhocservice_by_id(second["service_def"])
    query = DatalinkQuery.from_resource(second, resource, FWHM_FRACTION=0.5)
    assert dict(query) == {"ID": UNUSED, "BAND": "i", "FWHM_FRACTION": "0.5"}


def test_a_package_has_all_files_and_what_is_known(client: httpx.Client) -> None:
    (package,) = [row for row in _links(client, IMAGE) if row["semantics"] == "#package"]
    url = str(package["access_url"])
    sent = web.get(url)
    assert sent.headers["content-type"] == package["content_type"] == "application/x-tar"
    assert int(sent.headers["content-length"]) == len(sent.content)
    assert int(web.head(url).headers["content-length"]) == len(sent.content)
    assert "visit%200.tar" in sent.headers["content-disposition"]
    with tarfile.open(fileobj=io.BytesIO(sent.content)) as tar:
        held = {member.name: tar.extractfile(member) for member in tar.getmembers()}
        assert set(held) == {
            "visit 0/visit 0.fits", "visit 0/visit 0.weight.fits", "visit 0/about.json",
        }  # fmt: skip
        for name, value in (("visit 0.fits", 0), ("visit 0.weight.fits", 1)):
            with fits.open(io.BytesIO(held[f"visit 0/{name}"].read())) as hdus:
                assert (hdus[0].data == value).all()
        about = json.load(held["visit 0/about.json"])
    assert about["ObsCore"]["obs_publisher_did"] == IMAGE
    assert "file_path" not in str(about)


def test_the_token_of_a_package_opens_no_file_and_the_other_way_round(
    client: httpx.Client,
) -> None:
    table = _links(client, IMAGE)
    urls = {str(row["semantics"]): str(row["access_url"]) for row in table}
    file, package = urls["#this"], urls["#package"]
    assert web.get(file.replace("/files/", "/packages/")).status_code == 404
    assert web.get(package.replace("/packages/", "/files/")).status_code == 404
    assert web.get(package.replace("/packages/", "/packages/x")).status_code == 403


def test_links_to_images_of_the_same_place_are_queries_that_work(client: httpx.Client) -> None:
    table = _links(client, IMAGE)
    found = {
        str(row["local_semantics"]): parse(io.BytesIO(web.get(str(row["access_url"])).content))
        for row in table
        if row["semantics"] in ("#coderived", "#counterpart")
    }
    assert set(found) == {"same-band", "other-bands", "other-collections"}
    tables = {name: each.get_first_table().to_table() for name, each in found.items()}
    assert list(tables["same-band"]["lsst_visit"]) == [0, 1, 2]  # nearest in time first
    assert len(tables["other-bands"]) == len(tables["other-collections"]) == 0


def test_links_are_kept_no_longer_than_their_addresses_live(client: httpx.Client) -> None:
    answer = client.get("/datalink/links", params={"ID": IMAGE})
    assert answer.headers["cache-control"] == f"private, max-age={LINK_LIFETIME_S // 2}"
