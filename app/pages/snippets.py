"""Lines to copy: how to ask this very service from Python and from the shell."""

from __future__ import annotations

from urllib.parse import quote

from app.pages.search import SearchForm, search_adql


def pyvo_snippet(service_url: str, position: str) -> str:
    """Search at a position with pyvo and open the first image."""
    lon, lat = position.split()
    return f'''import pyvo
from astropy.io import fits
from pyvo.dal.adhoc import DatalinkResults

tap = pyvo.dal.TAPService("{service_url}/tap")
images = tap.search("""
    SELECT * FROM ivoa.ObsCore
    WHERE CONTAINS(POINT('ICRS', {lon}, {lat}),
                   s_region) = 1
      AND calib_level = 2
    ORDER BY s_resolution""")
links = DatalinkResults.from_result_url(
    images[0].getdataurl())
this = next(links.bysemantics(
    "#this", include_narrower=False))
hdus = fits.open(this.access_url)'''


def curl_snippet(service_url: str, position: str) -> str:
    """The same search with curl, as CSV."""
    lon, lat = position.split()
    return f'''curl {service_url}/tap/sync \\
  -d LANG=ADQL -d RESPONSEFORMAT=csv \\
  --data-urlencode "QUERY=
    SELECT obs_id, lsst_band, t_min
    FROM ivoa.ObsCore
    WHERE CONTAINS(POINT('ICRS', {lon}, {lat}),
                   s_region) = 1
      AND calib_level = 2"'''


def build_snippet(service_url: str, dataset_id: str) -> str:
    """Build a difference image and save it."""
    return f"""curl {service_url}/builds/difference/sync \\
  --data-urlencode "ID={dataset_id}" \\
  -o difference.fits"""


def open_snippet(dataset_id: str, service_url: str) -> str:
    """Open one dataset in Python."""
    return f'''from astropy.io import fits
from pyvo.dal.adhoc import DatalinkResults

links = DatalinkResults.from_result_url(
    "{service_url}/datalink/links"
    "?ID={quote(dataset_id, safe="")}")
this = next(links.bysemantics(
    "#this", include_narrower=False))
hdus = fits.open(this.access_url)
hdus.info()'''


def example_queries(position: str) -> list[dict[str, str]]:
    """Queries to start from: what each finds (name) and its text (query)."""
    at_position = search_adql(SearchForm(pos=position), top=100)
    named = (
        ("images that contain a position", at_position),
        (
            "how many exposures each band has, and how sharp they are",
            "SELECT lsst_band, COUNT(*) AS n, AVG(s_resolution) AS seeing\n"
            "FROM ivoa.ObsCore\nWHERE calib_level = 2\nGROUP BY lsst_band\nORDER BY lsst_band",
        ),
        (
            "the sharpest exposures",
            "SELECT TOP 20 obs_publisher_did, lsst_band, t_min, s_resolution\n"
            "FROM ivoa.ObsCore\nWHERE calib_level = 2\nORDER BY s_resolution",
        ),
        (
            "what the built images are made of",
            "SELECT TOP 100 product_id, input_id, role, weight, rejected\n"
            "FROM skyloom.product_input",
        ),
        (
            "all columns of ObsCore",
            "SELECT column_name, datatype, unit, description\nFROM tap_schema.columns\n"
            "WHERE table_name = 'ivoa.ObsCore'",
        ),
    )
    return [{"name": name, "query": query} for name, query in named]
