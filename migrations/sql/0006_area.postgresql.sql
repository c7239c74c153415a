-- Surface (sr) of a polygon of vertices (lon, lat, lon, lat …; deg): the fan of triangles about its
-- centre, whose determinants do not cancel in the frame tangent there, however small the polygon
-- (Van Oosterom & Strackee 1983; app.sky.predicates.area_deg2). pgSphere's own sums angles, of which
-- a polygon of some arc minutes keeps five digits.
CREATE FUNCTION adql_area(vertices float8[])
RETURNS float8 LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
  n int := cardinality(vertices) / 2;
  x float8[] := '{}'; y float8[] := '{}'; z float8[] := '{}';
  p float8[] := '{}'; q float8[] := '{}'; w float8[] := '{}';
  cx float8 := 0; cy float8 := 0; cz float8 := 0; size float8;
  ux float8; uy float8; uz float8; vx float8; vy float8; vz float8;
  total float8 := 0; j int;
BEGIN
  FOR i IN 1 .. n LOOP
    x[i] := cos(radians(vertices[2 * i - 1])) * cos(radians(vertices[2 * i]));
    y[i] := sin(radians(vertices[2 * i - 1])) * cos(radians(vertices[2 * i]));
    z[i] := sin(radians(vertices[2 * i]));
    cx := cx + x[i]; cy := cy + y[i]; cz := cz + z[i];
  END LOOP;
  size := sqrt(cx * cx + cy * cy + cz * cz);
  IF size IS NULL OR size < 1e-12 THEN RETURN NULL; END IF;
  cx := cx / size; cy := cy / size; cz := cz / size;
  IF abs(cz) < 0.9 THEN
    ux := -cy; uy := cx; uz := 0;
  ELSE
    ux := 0; uy := -cz; uz := cy;
  END IF;
  size := sqrt(ux * ux + uy * uy + uz * uz);
  ux := ux / size; uy := uy / size; uz := uz / size;
  vx := cy * uz - cz * uy; vy := cz * ux - cx * uz; vz := cx * uy - cy * ux;
  FOR i IN 1 .. n LOOP
    p[i] := x[i] * ux + y[i] * uy + z[i] * uz;
    q[i] := x[i] * vx + y[i] * vy + z[i] * vz;
    w[i] := x[i] * cx + y[i] * cy + z[i] * cz;
  END LOOP;
  FOR i IN 1 .. n LOOP
    j := i % n + 1;
    total := total + 2 * atan2(
      p[i] * q[j] - q[i] * p[j],
      1 + p[i] * p[j] + q[i] * q[j] + w[i] * w[j] + w[i] + w[j]);
  END LOOP;
  RETURN abs(total);
END
$$;
