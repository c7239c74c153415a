-- A frame in longitude and latitude (deg) about a circle. Side 0 is
-- the frame itself; side 1 what of it lies beyond the seam of longitudes, NULL mostly.
CREATE FUNCTION adql_reach(lon float8, lat float8, radius float8, side int)
RETURNS box LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
  r float8 := radius + 6e-7;
  x float8;
  low float8;
  high float8;
  aside float8;
BEGIN
  IF NOT abs(lat) <= 90 OR NOT radius >= 0 OR abs(lon) = 'Infinity' OR lon = 'NaN' THEN
    RETURN NULL;
  END IF;
  low := greatest(lat - r, -90);
  high := least(lat + r, 90);
  IF abs(lat) + r >= 90 THEN
    RETURN CASE WHEN side = 0 THEN box(point(-1, low), point(361, high)) END;
  END IF;
  x := lon - 360 * floor(lon / 360);
  aside := degrees(asin(least(sin(radians(r)) / cos(radians(lat)), 1))) + 6e-7;
  IF side = 0 THEN
    RETURN box(point(x - aside, low), point(x + aside, high));
  ELSIF x - aside <= 0 THEN
    RETURN box(point(x - aside + 360, low), point(361, high));
  ELSIF x + aside >= 360 THEN
    RETURN box(point(-1, low), point(x + aside - 360, high));
  END IF;
  RETURN NULL;
END
$$;

-- The same of a polygon's vertices (lon, lat, lon, lat …; deg): of a circle about them.
CREATE FUNCTION adql_frame(vertices float8[], side int)
RETURNS box LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
  SELECT CASE WHEN reach > 85 THEN adql_reach(0, 0, 180, side)
    ELSE adql_reach(degrees(atan2(y, x)), degrees(atan2(z, sqrt(x * x + y * y))), reach, side) END
  FROM (
    SELECT x, y, z, (
      SELECT max(degrees(acos(least(1, greatest(-1, (x * cosd(l) * cosd(b) + y * sind(l) * cosd(b)
        + z * sind(b)) / NULLIF(sqrt(x * x + y * y + z * z), 0)))))) + 1e-5
      FROM (SELECT vertices[2 * i - 1] AS l, vertices[2 * i] AS b
        FROM generate_series(1, cardinality(vertices) / 2) AS i) AS v) AS reach
    FROM (
      SELECT sum(cosd(vertices[2 * i - 1]) * cosd(vertices[2 * i])) AS x,
        sum(sind(vertices[2 * i - 1]) * cosd(vertices[2 * i])) AS y, sum(sind(vertices[2 * i])) AS z
      FROM generate_series(1, cardinality(vertices) / 2) AS i) AS s) AS c
  WHERE 'Infinity' <> ALL (vertices) AND '-Infinity' <> ALL (vertices)
$$;
