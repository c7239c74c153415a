-- Whether a direction lies in a box of longitudes and latitudes, its sides included; all in radians.
CREATE FUNCTION adql_in_range(lon float8, lat float8, west float8, width float8, south float8,
  north float8)
RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT lat BETWEEN south - 1e-9 AND north + 1e-9 AND (width >= 2 * pi()
    OR abs(lat) >= pi() / 2 - 1e-9
    OR lon - west + 1e-9 / cos(lat) - 2 * pi() * floor((lon - west + 1e-9 / cos(lat)) / (2 * pi()))
      <= width + 2e-9 / cos(lat))
$$;

-- Whether a polygon (lon, lat, lon, lat …; deg) has a vertex in such a box, or an edge that crosses a
-- side of it (app.sky.kernel_ranges.meets_range; that a corner of the box lies in the polygon is asked
-- beside it). pgSphere's own sbox overlooks edges that enter a box and leave it between two vertices.
CREATE FUNCTION adql_meets_range(vertices float8[], lon_min float8, lon_max float8,
  lat_min float8, lat_max float8)
RETURNS boolean LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
  n int := cardinality(vertices) / 2;
  west float8 := radians(lon_min);
  width float8 := radians(CASE WHEN lon_max - lon_min >= 360 THEN 360
    ELSE lon_max - lon_min - 360 * floor((lon_max - lon_min) / 360) END);
  south float8 := radians(lat_min);
  north float8 := radians(lat_max);
  l float8 := radians(vertices[2 * n - 1]); b float8 := radians(vertices[2 * n]);
  ax float8; ay float8; az float8; ux float8; uy float8; uz float8;
  nx float8; ny float8; nz float8; sine float8; length float8; reach float8;
  side float8; turn float8; past float8; x float8; y float8; z float8;
BEGIN
  FOR i IN 1 .. n LOOP
    ax := cos(l) * cos(b); ay := sin(l) * cos(b); az := sin(b);
    l := radians(vertices[2 * i - 1]); b := radians(vertices[2 * i]);
    IF adql_in_range(l, b, west, width, south, north) THEN RETURN TRUE; END IF;
    x := cos(l) * cos(b); y := sin(l) * cos(b); z := sin(b);
    nx := ay * z - az * y; ny := az * x - ax * z; nz := ax * y - ay * x;
    sine := sqrt(nx * nx + ny * ny + nz * nz);
    CONTINUE WHEN sine < 1e-12;
    -- The edge is a cos t + u sin t, for t up to its length.
    length := atan2(sine, ax * x + ay * y + az * z);
    ux := (ny * az - nz * ay) / sine; uy := (nz * ax - nx * az) / sine;
    uz := (nx * ay - ny * ax) / sine;
    reach := sqrt(az * az + uz * uz);
    FOR k IN 0 .. 11 LOOP
      IF k < 4 THEN
        side := sin(CASE WHEN k < 2 THEN south ELSE north END);
        CONTINUE WHEN abs(side) > reach OR reach = 0;
        turn := atan2(uz, az) + acos(side / reach) * (1 - 2 * (k % 2));
      ELSIF k < 8 THEN
        side := CASE WHEN k < 6 THEN west ELSE west + width END;
        turn := atan2(cos(side) * ay - sin(side) * ax, sin(side) * ux - cos(side) * uy)
          + pi() * (k % 2);
      ELSE
        -- The place on the edge beside a corner of the box that lies on it.
        side := CASE WHEN k < 10 THEN south ELSE north END;
        x := cos(west + width * (k % 2)) * cos(side); y := sin(west + width * (k % 2)) * cos(side);
        z := sin(side);
        CONTINUE WHEN abs(nx * x + ny * y + nz * z) > 1e-9 * sine;
        turn := atan2(ux * x + uy * y + uz * z, ax * x + ay * y + az * z);
      END IF;
      past := turn - 2 * pi() * floor(turn / (2 * pi()));
      CONTINUE WHEN past > length + 1e-9 AND past < 2 * pi() - 1e-9;
      IF k >= 8 THEN RETURN TRUE; END IF;
      x := ax * cos(turn) + ux * sin(turn); y := ay * cos(turn) + uy * sin(turn);
      z := az * cos(turn) + uz * sin(turn);
      IF adql_in_range(atan2(y, x), atan2(z, sqrt(x * x + y * y)), west, width, south, north) THEN
        RETURN TRUE;
      END IF;
    END LOOP;
  END LOOP;
  RETURN FALSE;
END
$$;
