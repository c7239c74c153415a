"""Every query that the flows send; both engines must answer each with the same table."""

from __future__ import annotations

QUERIES: dict[str, str] = {
    "schemas": "SELECT * FROM tap_schema.schemas ORDER BY schema_name",
    "ivoa tables": (
        "SELECT * FROM tap_schema.tables WHERE tap_schema.tables.schema_name = 'ivoa' "
        "ORDER BY table_name"
    ),
    "columns": (
        "SELECT column_name, datatype, description, unit FROM tap_schema.columns "
        "WHERE table_name = 'ivoa.ObsCore' ORDER BY column_name"
    ),
    "all columns": (
        "SELECT * FROM tap_schema.columns ORDER BY table_name, column_index, column_name"
    ),
    "keys": "SELECT * FROM tap_schema.keys ORDER BY key_id",
    "key columns": "SELECT * FROM tap_schema.key_columns ORDER BY key_id, from_column",
    "everything": "SELECT * FROM ivoa.ObsCore WHERE calib_level = 2 ORDER BY obs_publisher_did",
    "contains": (
        "SELECT * FROM ivoa.ObsCore WHERE CONTAINS(POINT('ICRS', {ra}, {dec}), s_region) = 1 "
        "AND calib_level = 2 ORDER BY obs_publisher_did"
    ),
    "contains, one band": (
        "SELECT * FROM ivoa.ObsCore WHERE CONTAINS(POINT('ICRS', {ra}, {dec}), s_region) = 1 "
        "AND lsst_band = 'i' AND calib_level = 2 AND dataproduct_subtype = 'lsst.visit_image' "
        "ORDER BY obs_publisher_did"
    ),
    "not contained": (
        "SELECT obs_id FROM ivoa.ObsCore WHERE CONTAINS(POINT({ra}, {dec}), s_region) = 0 "
        "AND calib_level = 2 ORDER BY obs_id"
    ),
    "intersects circle": (
        "SELECT obs_id, s_ra, s_dec FROM ivoa.ObsCore WHERE "
        "1 = INTERSECTS(CIRCLE('ICRS', {ra}, {dec}, 0.02), s_region) AND calib_level = 2 "
        "ORDER BY obs_id"
    ),
    "intersects polygon": (
        "SELECT obs_id FROM ivoa.ObsCore WHERE INTERSECTS(s_region, POLYGON({ra}, {dec}, "
        "{ra} + 0.01, {dec}, {ra} + 0.01, {dec} + 0.01)) = 1 AND calib_level = 2 ORDER BY obs_id"
    ),
    "centres in a circle": (
        "SELECT obs_id FROM ivoa.ObsCore WHERE CONTAINS(POINT(s_ra, s_dec), "
        "CIRCLE({ra}, {dec}, 0.03)) = 1 AND calib_level = 2 ORDER BY obs_id"
    ),
    "cone by distance": (
        "SELECT obs_id, DISTANCE(POINT(s_ra, s_dec), POINT({ra}, {dec})) AS d FROM ivoa.ObsCore "
        "WHERE DISTANCE(POINT(s_ra, s_dec), POINT({ra}, {dec})) < 0.03 AND calib_level = 2 "
        "ORDER BY obs_id"
    ),
    "per band": (
        "SELECT lsst_band, COUNT(*) AS n, MIN(t_min) AS t_first, MAX(t_max) AS t_last, "
        "AVG(s_resolution) AS seeing, SUM(t_exptime) AS exposure FROM ivoa.ObsCore "
        "WHERE calib_level = 2 GROUP BY lsst_band ORDER BY lsst_band"
    ),
    "having": (
        "SELECT lsst_visit, COUNT(*) AS n FROM ivoa.ObsCore WHERE calib_level = 2 "
        "GROUP BY lsst_visit HAVING COUNT(*) > 1 ORDER BY n DESC, lsst_visit"
    ),
    "best seeing": (
        "SELECT TOP 5 obs_id, s_resolution FROM ivoa.ObsCore WHERE lsst_band IN ('g', 'r') "
        "AND calib_level = 2 AND s_resolution BETWEEN 0.3 AND 3 "
        "ORDER BY s_resolution DESC, obs_id"
    ),
    "like": (
        "SELECT obs_id FROM ivoa.ObsCore WHERE obs_id LIKE '%1%' AND NOT obs_id LIKE 'V%' "
        "AND lsst_tract IS NULL AND (lsst_detector < 2 OR lsst_detector = 3) "
        "AND calib_level = 2 ORDER BY obs_id"
    ),
    "nulls last": (
        "SELECT obs_id, t_resolution, em_res_power FROM ivoa.ObsCore WHERE calib_level = 2 "
        "ORDER BY t_resolution, em_res_power DESC, obs_id"
    ),
    "arithmetic": (
        "SELECT obs_id, (t_max - t_min) * 86400 - t_exptime AS slack, s_xel1 * s_xel2 AS pixels, "
        "ROUND(s_ra, 3) AS ra3, LOG10(em_max / em_min) AS width FROM ivoa.ObsCore "
        "WHERE calib_level = 2 ORDER BY obs_id"
    ),
    "provenance": (
        "SELECT product_id, input_id, role FROM skyloom.product_input "
        "WHERE product_id = 'none' ORDER BY input_id"
    ),
}
