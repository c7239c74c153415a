-- Whether two directions (deg) lie within an angle of at most a right one (deg); NULL for what is no
-- direction or no such angle.
CREATE OR REPLACE FUNCTION adql_near(
  lon float8, lat float8, lon2 float8, lat2 float8, radius float8)
RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE WHEN radius BETWEEN 0 AND 90 AND lat2 BETWEEN -90 AND 90
    AND abs(lon - lon2) < 'Infinity' AND abs(lat - lat2) < 'Infinity' THEN
    sin(radians(lat - lat2) / 2) * sin(radians(lat - lat2) / 2)
    + cos(radians(lat)) * cos(radians(lat2))
      * sin(radians(lon - lon2) / 2) * sin(radians(lon - lon2) / 2)
    <= sin((radians(radius) + 1e-9) / 2) * sin((radians(radius) + 1e-9) / 2) END
$$
