"""What a reader finds on the pages, and what happens when something is wrong."""

from __future__ import annotations

import html
import io
import re
from pathlib import Path
from urllib.parse import quote, unquote

import numpy as np
import pytest
from astropy.io import fits
from astropy.io.votable import parse_single_table
from starlette.testclient import TestClient

from app.config import Config
from app.main import create_app
from app.wiring_database import initialise, open_row_import
from tests.pages.conftest import Site


def get(site: Site, path: str, status: int = 200) -> str:
    """The text of a page, unescaped."""
    answer = site.client.get(path, follow_redirects=False)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"].startswith("text/html")
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    return html.unescape(answer.text)


def links_of(text: str) -> set[str]:
    return set(re.findall(r'\s(?:href|src|action)="([^"]+)"', text))


def image_path(site: Site, more: str = "") -> str:
    return f"/images?ID={quote(site.image_id, safe='')}{more}"


def test_the_landing_page_tells_what_there_is_and_how_to_ask(site: Site) -> None:
    text = get(site, "/")
    assert "<h1>Test & Sky</h1>" in text
    assert "lsst.visit_image" in text and "demo" in text
    counted = re.search(r"<b>(\d+)</b><span>images", text)
    assert counted and int(counted[1]) == len(site.truth.exposures)
    assert 'TAPService("http://sky.test/tap")' in text
    assert "http://sky.test/builds/difference/sync" in text


def test_the_address_of_sia_tells_a_browser_its_parameters(site: Site) -> None:
    assert "/sia" in links_of(get(site, "/"))
    text = get(site, "/sia")
    for name in ("POS", "BAND", "DPSUBTYPE", "UPLOAD"):
        assert f"<code>{name}</code>" in text
    links = links_of(text)
    assert {"/sia/query?MAXREC=0", "/sia/capabilities", "/sia/availability"} <= links
    assert all(site.client.get(link).status_code == 200 for link in links - {"#main"})


def test_no_page_needs_anything_from_elsewhere(site: Site) -> None:
    for path in ("/", "/search", "/query", image_path(site), "/jobs", "/tap/examples", "/sky"):
        outside = [u for u in links_of(get(site, path)) if re.match(r"(https?:)?//", u)]
        assert all(u.startswith("http://sky.test/") for u in outside), outside


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
def test_no_page_is_blank_without_the_scripts_of_another_site(site: Site, path: str) -> None:
    assert site.client.get(path).status_code == 404


def test_every_page_leads_to_the_others(site: Site) -> None:
    bars = [links_of(get(site, path)) for path in ("/jobs", "/tap/examples")]
    assert all({"/", "/query", "/sky", "/jobs", "/tap/tables"} <= links for links in bars)


def test_the_endpoints_of_the_landing_page_are_there(site: Site) -> None:
    shown = re.findall(r"http://sky\.test(/(?:builds|skymap|datalink)\S*?)\?", get(site, "/"))
    assert {"/builds/template/sync", "/builds/difference/sync", "/skymap"} <= set(shown)
    for path in shown:
        assert site.client.get(path).status_code in {200, 400}, path


def test_every_link_of_the_landing_page_works(site: Site) -> None:
    for link in links_of(get(site, "/")) - {"#main"}:
        answer = site.client.get(link)
        assert answer.status_code < 400, (link, answer.text[:300])


def test_snippets_run_as_they_stand(site: Site) -> None:
    text = get(site, "/")
    query = re.search(r'tap\.search\("""(.*?)"""\)', text, re.DOTALL)
    assert query
    answer = site.client.get("/tap/sync", params={"LANG": "ADQL", "QUERY": query[1]})
    assert answer.status_code == 200 and "<TD>" in answer.text


def test_search_by_position_band_and_kind(site: Site) -> None:
    lon, lat = site.truth.centre_deg
    text = get(site, f"/search?POS={lon}+{lat}&SR=0.05&BAND=r&SUBTYPE=lsst.visit_image")
    assert "<h1>4 images" in text
    assert "lsst_band = 'r'" in text and "INTERSECTS(CIRCLE(" in text
    assert "0 images" in get(site, "/search?POS=10+10")
    assert "<h1>8 images" in get(site, "/search")


def test_search_takes_hours_and_quotes_text(site: Site) -> None:
    text = get(site, "/search?POS=4:08:00+-37:05:00")
    assert "contain 62 -37.0833333" in text
    assert "0 images" in get(site, "/search?BAND=r'+OR+1%3D1+--")


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("POS=north", "POS"),
        ("POS=1+2+3", "POS"),
        ("POS=١+2", "Parameter POS: a number is needed, got '١'"),
        ("POS=4:0٨:00+-37:05:00", "Parameter POS: '4:0٨:00 -37:05:00' is not a position"),
        ("POS=4:0_8:00+-37:05:00", "Parameter POS: '4:0_8:00 -37:05:00' is not a position"),
        ("SR=0.1", "SR"),
        ("POS=1+2&SR=-1", "SR"),
        ("POS=1+2&SR=1_0", "Parameter SR: a number is needed, got '1_0'"),
    ],
)
def test_a_wrong_search_is_explained(site: Site, query: str, told: str) -> None:
    assert told in get(site, f"/search?{query}", 400)


def test_a_query_shows_its_table_with_links(site: Site) -> None:
    text = get(site, "/query?QUERY=SELECT+obs_publisher_did,+access_url,+t_min+FROM+ivoa.ObsCore")
    assert "8 rows" in text
    assert f'href="{image_path(site)}"' in text
    assert 'href="http://sky.test/datalink/links?ID=' in text


def test_a_long_answer_says_that_it_is_cut(site: Site) -> None:
    cross = "SELECT a.obs_id FROM tap_schema.columns AS c, ivoa.ObsCore AS a"
    text = get(site, f"/query?QUERY={quote(cross)}")
    assert "cut here" in text and text.count("<tr>") == 501


def test_a_wrong_query_points_at_its_fault(site: Site) -> None:
    text = get(
        site,
        f"/query?QUERY={quote('SELECT obs_id,' + chr(10) + ' obs_idd FROM ivoa.ObsCore')}",
        400,
    )
    assert "obs_idd" in text and "line 2" in text
    assert "<pre> obs_idd FROM ivoa.ObsCore\n ^</pre>" in text


def test_an_image_has_all_its_metadata_and_links(site: Site) -> None:
    text = get(site, image_path(site))
    for column in ("s_region", "t_exptime", "lsst_ccdvisitid", "obs_publisher_did"):
        assert f'<th scope="row">{column}</th>' in text
    assert "POLYGON ICRS" in text
    download = next(u for u in links_of(text) if u.startswith("http://sky.test/files/"))
    answer = site.client.get(download)
    assert answer.status_code == 200 and answer.content.startswith(b"SIMPLE")
    assert f"/datalink/links?ID={quote(site.image_id, safe='')}" in links_of(text)


def test_an_image_is_cut_out_and_taken_whole_from_its_page(site: Site) -> None:
    text = get(site, image_path(site))
    form = text[text.index('action="/soda/sync"') : text.index("Cut out</button>")]
    asked = {
        name: html.unescape(value)
        for name, value in re.findall(r'name="(ID|CIRCLE)" value="([^"]*)"', form)
    }
    for word in re.findall(r'option value="(\w+)"', form):
        cut = site.client.get("/soda/sync", params={**asked, "RESPONSEFORMAT": word})
        assert cut.status_code == 200 and cut.headers["content-type"].endswith(f"/{word}")
    package = next(u for u in links_of(text) if u.startswith("http://sky.test/packages/"))
    assert site.client.get(package).headers["content-type"] == "application/x-tar"


def test_planes_in_one_file_have_links_of_their_own(site: Site) -> None:
    answer = site.client.get("/datalink/links", params={"ID": site.image_id})
    links = parse_single_table(io.BytesIO(answer.content)).to_table()
    found = {}
    for link in links[np.isin(links["semantics"], ["#noise", "#auxiliary"])]:
        content = site.client.get(str(link["access_url"])).content
        with fits.open(io.BytesIO(content)) as hdus:
            found[str(link["local_semantics"])] = [hdu.name for hdu in hdus if hdu.size]
    assert found == {"variance": ["VARIANCE"], "mask": ["MASK"]}


JAVA = {"Accept": "text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2"}


@pytest.mark.parametrize(
    ("path", "status", "told"),
    [
        ("/soda/sync?ID=ivo://no/such?x", 404, "ivo://no/such?x"),
        ("/soda/sync?ID={image}&CIRCLE=1", 400, "CIRCLE"),
        ("/builds/difference/sync?ID={image}&TIME=x", 400, "TIME"),
        ("/psf?ID={image}", 400, "POS"),
        ("/files/x.y.z/a.fits", 403, "link"),
        ("/packages/x.y.z/a.tar", 403, "link"),
    ],
)
def test_faults_are_pages_for_browsers_and_text_for_programs(
    site: Site, path: str, status: int, told: str
) -> None:
    url = path.format(image=quote(site.image_id, safe=""))
    page = site.client.get(url, headers=BROWSER)
    assert page.status_code == status and page.headers["content-type"].startswith("text/html")
    assert told in page.text and "Skyloom" in page.text
    for program in ({}, JAVA):
        answer = site.client.get(url, headers=program)
        assert answer.status_code == status and told in answer.text
        assert answer.headers["content-type"].startswith("text/plain")


@pytest.mark.parametrize("path", ["/tap/sync?LANG=ADQL&QUERY=x", "/sia/query?POS=x"])
def test_tables_stay_tables_when_they_are_faults(site: Site, path: str) -> None:
    for client in (BROWSER, JAVA):
        answer = site.client.get(path, headers=client)
        assert answer.status_code == 400
        assert answer.headers["content-type"] == "application/x-votable+xml"


def test_identifiers_ignore_case(site: Site) -> None:
    assert site.image_id in get(site, f"/images?ID={quote(site.image_id.upper(), safe='')}")


@pytest.mark.parametrize("path", ["/quality", "/quality/kernel.png"])
def test_only_differences_have_a_page_of_their_quality(site: Site, path: str) -> None:
    answer = site.client.get(path, params={"ID": site.image_id})
    assert answer.status_code == 404 and "no difference" in answer.text
    assert site.client.get(path).status_code == 400
    assert "/quality?" not in get(site, f"/images?ID={quote(site.image_id, safe='')}")


@pytest.mark.parametrize("path", ["/images?ID=ivo://x/y?z", "/jobs/difference/none", "/jobs/x/y"])
def test_what_is_not_there_is_a_friendly_404(site: Site, path: str) -> None:
    text = get(site, path, 404)
    assert "<h1>Not found</h1>" in text and 'href="/"' in text


BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}


@pytest.mark.parametrize("path", ["/nothing", "/jobs/difference", "/skymap/1", "/images/<b>"])
def test_an_address_that_is_none_leads_a_browser_on(site: Site, path: str) -> None:
    answer = site.client.get(path, headers=BROWSER)
    assert answer.status_code == (405 if path == "/jobs/difference" else 404)
    assert answer.headers["content-type"].startswith("text/html")
    assert "<b>" not in answer.text and path in unquote(html.unescape(answer.text))
    links = links_of(answer.text)
    assert {"/", "/query", "/jobs", "/tap", "/tap/examples"} <= links
    assert all(site.client.get(link).status_code == 200 for link in links - {"#main"})


@pytest.mark.parametrize("path", ["/nothing", "/jobs/difference", "/tap/nothing"])
def test_programs_are_told_of_wrong_addresses_in_their_way(site: Site, path: str) -> None:
    plain = site.client.get(path)
    assert not plain.headers["content-type"].startswith("text/html")
    assert site.client.get(path, headers={"Accept": "application/json"}).json()["message"]
    if path == "/jobs/difference":
        assert plain.headers["allow"] == "POST"
        assert site.client.get(path, headers=BROWSER).headers["allow"] == "POST"
    if path == "/tap/nothing":
        answer = site.client.get(path, headers=BROWSER)
        assert answer.headers["content-type"] == "application/x-votable+xml"


@pytest.mark.parametrize(
    ("query", "verdict", "told"),
    [
        ("SELECT s_ra\nFROM ivoa.ObsCore", "This query is valid", "pos.eq.ra"),
        ("SELECT <b> FROM x", "This query is not valid", "SELECT <b> FROM x\n       ^"),
        ("SELECT s_ra FROM obscore LIMIT 2", "This query is not valid", "LIMIT 2 became TOP 2"),
    ],
)
def test_the_verdict_on_a_query_is_a_page(site: Site, query: str, verdict: str, told: str) -> None:
    answer = site.client.get("/tap/validate", params={"QUERY": query}, headers=BROWSER)
    assert answer.status_code == 200 and "<b>" not in answer.text
    text = html.unescape(answer.text)
    assert f"<h1>{verdict}</h1>" in text and told in text and query in text
    assert {"/", "/query", "/jobs", "/tap/tables"} <= links_of(text)
    assert site.client.get("/tap/validate", params={"QUERY": query}).json()["query"] == query


def test_markup_in_parameters_stays_text(site: Site) -> None:
    answer = site.client.get("/images", params={"ID": "<script>alert(1)</script>"})
    assert answer.status_code == 404 and "<script>alert" not in answer.text
    answer = site.client.get("/query", params={"QUERY": "<script>alert(1)</script>"})
    assert answer.status_code == 400 and "<script>alert" not in answer.text


def test_a_build_is_started_watched_and_aborted(site: Site) -> None:
    form = {"ID": site.image_id, "TIME": "61000 61400", "FWHM_FRACTION": ""}
    answer = site.client.post("/jobs/difference", data=form, follow_redirects=False)
    assert answer.status_code == 303
    page = answer.headers["location"]
    text = get(site, page)
    assert "queued" in text and 'http-equiv="refresh"' in text and ">Abort<" in text
    assert site.image_id in text and "61000 61400" in text and "FWHM_FRACTION" not in text
    assert page in get(site, "/jobs")
    answer = site.client.post(page, data={"PHASE": "ABORT"}, follow_redirects=False)
    assert answer.status_code == 303 and answer.headers["location"] == page
    text = get(site, page)
    assert "aborted" in text and 'http-equiv="refresh"' not in text and ">Abort<" not in text


def test_a_wrong_build_makes_no_job(site: Site) -> None:
    before = get(site, "/jobs")
    answer = site.client.post("/jobs/difference", data={"ID": site.image_id, "TIME": "never"})
    assert answer.status_code == 400 and "TIME" in answer.text
    answer = site.client.post("/jobs/nothing", data={"ID": site.image_id})
    assert answer.status_code == 404
    assert get(site, "/jobs") == before


def test_the_editor_learns_the_words_and_tables_that_queries_may_name(site: Site) -> None:
    words = site.client.get("/query/vocabulary").json()
    assert {"SELECT", "OFFSET"} <= set(words["keywords"])
    functions = {each["name"]: each for each in words["functions"]}
    assert {"CONTAINS", "COUNT", "MAX", "ivo_hasword"} <= set(functions)
    assert functions["ivo_hasword"]["form"].endswith("-> INTEGER")
    obscore = next(each for each in words["tables"] if each["name"] == "ivoa.ObsCore")
    column = next(each for each in obscore["columns"] if each["name"] == "s_resolution")
    assert column["unit"] == "arcsec" and "resolution" in column["description"]
    schema = next(each for each in words["tables"] if each["name"] == "tap_schema.columns")
    assert '"size"' in [each["name"] for each in schema["columns"]]


def test_static_files_are_these_only(site: Site) -> None:
    assert site.client.get("/static/skyloom.css").headers["content-type"].startswith("text/css")
    for name in ("router.py", "..%2Frouter.py", "base.html", "built/", "built/..%2F..%2Frouter.py"):
        assert site.client.get(f"/static/{name}").status_code == 404


def test_static_files_are_kept_for_good_at_the_address_that_names_their_content(site: Site) -> None:
    address = re.search(r'href="(/static/skyloom\.css\?v=[0-9a-f]+)"', get(site, "/"))
    assert address is not None
    assert "immutable" in site.client.get(address[1]).headers["cache-control"]
    for stale in ("/static/skyloom.css", "/static/skyloom.css?v=old"):
        assert site.client.get(stale).headers["cache-control"] == "max-age=86400"


def test_a_lost_database_is_told_without_its_address(tmp_path: Path) -> None:
    config = Config(data_dir=tmp_path, workers=1)
    initialise(config)
    client = TestClient(create_app(config))
    (tmp_path / "skyloom.sqlite3").write_bytes(b"not a database")
    answer = client.get("/jobs")
    assert answer.status_code == 503
    assert "This did not work" in answer.text
    assert str(tmp_path) not in answer.text and "sqlite" not in answer.text.lower()


def test_images_of_other_services_are_shown_without_a_preview(tmp_path: Path) -> None:
    names = "obs_publisher_did,obs_collection,obs_id,calib_level,dataproduct_type,access_url"
    row = 'ivo://other.org/x?1,other,obs-1,2,image,https://other.org/1.fits,"CIRCLE ICRS 200 20 1"'
    (tmp_path / "rows.csv").write_text(f"{names},s_region\n{row}\n")
    config = Config(data_dir=tmp_path / "data")
    initialise(config)
    with open_row_import(config) as importer:
        report = importer.run(tmp_path / "rows.csv", progress=lambda _done, _all: None)
    assert report.inserted == 1
    client = TestClient(create_app(config), base_url="http://sky.test")
    for path in ("/", "/search?POS=200+20"):
        page = client.get(path).text
        assert "obs-1" in page and "/previews" not in page


def test_openapi_names_every_operation_apart(site: Site) -> None:
    paths = site.client.get("/openapi.json").json()["paths"]
    names = [each["operationId"] for path in paths.values() for each in path.values()]
    assert len(names) > len(paths) > 50
    assert len(set(names)) == len(names)
    assert {"get_sia_query", "head_sia_query", "get_tap_async_job_id"} < set(names)
