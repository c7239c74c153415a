-- The corners of ADQL's box (lon, lat, lon, lat …; deg): those of a box about the origin, turned to
-- the centre. NULL for what is no box. The formula of app.sky.stcs.box_from.
CREATE FUNCTION adql_box(lon float8, lat float8, width float8, height float8)
RETURNS float8[] LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
  SELECT CASE WHEN lat BETWEEN -90 AND 90 AND width > 0 AND width < 180
    AND height > 0 AND height < 180 THEN (
    SELECT array_agg(v ORDER BY k, n) FROM (
      SELECT k, lon + degrees(atan2(y, u)) - 360 * floor((lon + degrees(atan2(y, u))) / 360) AS l,
        degrees(atan2(z, sqrt(u * u + y * y))) AS b
      FROM (
        SELECT k, y, x * cos(radians(lat)) - z * sin(radians(lat)) AS u,
          x * sin(radians(lat)) + z * cos(radians(lat)) AS z
        FROM (
          SELECT k, cos(a) * cos(d) AS x, sin(a) * cos(d) AS y, sin(d) AS z
          FROM (VALUES (1, -0.5, -0.5), (2, 0.5, -0.5), (3, 0.5, 0.5), (4, -0.5, 0.5))
            AS c (k, i, j)
          CROSS JOIN LATERAL (SELECT radians(i * width) AS a, radians(j * height) AS d) AS e
        ) AS f
      ) AS g
    ) AS h CROSS JOIN LATERAL (VALUES (1, l), (2, b)) AS p (n, v)) END
$$;

-- DALI text of vertices.
CREATE FUNCTION adql_polygon_text(vertices float8[])
RETURNS text LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
  SELECT string_agg(CAST(trim_scale(round(CAST(v AS numeric), 10)) AS text), ' ' ORDER BY n)
  FROM unnest(vertices) WITH ORDINALITY AS u (v, n)
$$;

-- Longitude (place 0) or latitude (1), deg, of the centre of mass of a polygon's surface: half the
-- sum of edge length times edge normal, or, below 1 deg, where that sum would cancel, a fan of
-- triangles in the plane tangent at the mean with a seven-point rule (app.sky.predicates.centroid).
CREATE FUNCTION adql_centroid(vertices float8[], place int)
RETURNS float8 LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
  n int := cardinality(vertices) / 2;
  root float8 := sqrt(15);
  rule float8[] := ARRAY[
    1.0 / 3, 1.0 / 3, 9.0 / 40,
    (6 - root) / 21, (6 - root) / 21, (155 - root) / 1200,
    (6 - root) / 21, 1 - 2 * (6 - root) / 21, (155 - root) / 1200,
    1 - 2 * (6 - root) / 21, (6 - root) / 21, (155 - root) / 1200,
    (6 + root) / 21, (6 + root) / 21, (155 + root) / 1200,
    (6 + root) / 21, 1 - 2 * (6 + root) / 21, (155 + root) / 1200,
    1 - 2 * (6 + root) / 21, (6 + root) / 21, (155 + root) / 1200];
  x float8[] := '{}'; y float8[] := '{}'; z float8[] := '{}';
  cx float8 := 0; cy float8 := 0; cz float8 := 0; size float8;
  ux float8; uy float8; uz float8; vx float8; vy float8; vz float8;
  p float8[] := '{}'; q float8[] := '{}'; depth float8; least_depth float8 := 2;
  ax float8; ay float8; az float8; m float8; half float8; turn float8 := 0;
  a float8; b float8; share float8; j int;
  sum_w float8 := 0; sum_x float8 := 0; sum_y float8 := 0; sum_z float8 := 0;
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
    depth := x[i] * cx + y[i] * cy + z[i] * cz;
    least_depth := least(least_depth, depth);
    p[i] := (x[i] * ux + y[i] * uy + z[i] * uz) / NULLIF(depth, 0);
    q[i] := (x[i] * vx + y[i] * vy + z[i] * vz) / NULLIF(depth, 0);
  END LOOP;
  FOR i IN 1 .. n LOOP
    j := i % n + 1;
    turn := turn + p[i] * q[j] - p[j] * q[i];
    IF least_depth > 0.9998 THEN
      FOR k IN 0 .. 6 LOOP
        a := rule[3 * k + 1] * p[i] + rule[3 * k + 2] * p[j];
        b := rule[3 * k + 1] * q[i] + rule[3 * k + 2] * q[j];
        share := (p[i] * q[j] - p[j] * q[i]) * rule[3 * k + 3] / (1 + a * a + b * b) ^ 2;
        sum_w := sum_w + share; sum_x := sum_x + share * a; sum_y := sum_y + share * b;
      END LOOP;
      CONTINUE;
    END IF;
    ax := y[i] * z[j] - z[i] * y[j]; ay := z[i] * x[j] - x[i] * z[j];
    az := x[i] * y[j] - y[i] * x[j];
    m := sqrt(ax * ax + ay * ay + az * az);
    IF m > 0 THEN
      half := atan2(m, x[i] * x[j] + y[i] * y[j] + z[i] * z[j]) / 2;
      sum_x := sum_x + ax / m * half; sum_y := sum_y + ay / m * half;
      sum_z := sum_z + az / m * half;
    END IF;
  END LOOP;
  IF least_depth > 0.9998 THEN
    IF sum_w = 0 THEN RETURN NULL; END IF;
    a := sum_x / sum_w; b := sum_y / sum_w;
    sum_x := cx + ux * a + vx * b; sum_y := cy + uy * a + vy * b; sum_z := cz + uz * a + vz * b;
  ELSIF sum_x * cx + sum_y * cy + sum_z * cz < 0 THEN
    sum_x := -sum_x; sum_y := -sum_y; sum_z := -sum_z;
  END IF;
  IF place = 1 THEN RETURN degrees(atan2(sum_z, sqrt(sum_x * sum_x + sum_y * sum_y))); END IF;
  a := degrees(atan2(sum_y, sum_x));
  a := CASE WHEN a < 0 THEN a + 360 ELSE a END;
  RETURN CASE WHEN a >= 360 THEN 0 ELSE a END;
END
$$
