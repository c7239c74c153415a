-- Exact tests of geometries. A figure is an array of numbers (app.sky.figures): 3 of
-- a direction (unit vector), 4 of a circle (centre, radius in rad), 10 + 5 n of a polygon: centre,
-- cosine of the cap about it, two axes of the plane that touches the sky there, then for each vertex
-- its unit vector and its place in that plane, where great circles are straight lines. Each function
-- follows one of app.sky.kernels step by step.
CREATE FUNCTION adql_figure_point(lon float8, lat float8)
RETURNS float8[] LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE WHEN abs(lat) <= 90 AND abs(lon) < 'Infinity' THEN ARRAY[
    cos(radians(lon)) * cos(radians(lat)), sin(radians(lon)) * cos(radians(lat)),
    sin(radians(lat))] END
$$;

-- The radius in radians.
CREATE FUNCTION adql_figure_circle(lon float8, lat float8, radius float8)
RETURNS float8[] LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE WHEN abs(lat) <= 90 AND abs(lon) < 'Infinity' AND radius >= 0 THEN ARRAY[
    cos(radians(lon)) * cos(radians(lat)), sin(radians(lon)) * cos(radians(lat)),
    sin(radians(lat)), radius] END
$$;

-- Whether two directions (deg) lie within an angle of at most a right one (rad).
CREATE FUNCTION adql_near(lon float8, lat float8, lon2 float8, lat2 float8, radius float8)
RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE WHEN abs(lon - lon2) < 'Infinity' AND abs(lat - lat2) < 'Infinity' THEN
    sin(radians(lat - lat2) / 2) * sin(radians(lat - lat2) / 2)
    + cos(radians(lat)) * cos(radians(lat2))
      * sin(radians(lon - lon2) / 2) * sin(radians(lon - lon2) / 2)
    <= sin((radius + 1e-9) / 2) * sin((radius + 1e-9) / 2) END
$$;

-- On which side of the line from p to q the place r lies; 0 where only rounding could tell.
CREATE FUNCTION adql_side(px float8, py float8, qx float8, qy float8, rx float8, ry float8)
RETURNS float8 LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
  a float8 := (qx - px) * (ry - py);
  b float8 := (qy - py) * (rx - px);
BEGIN
  IF abs(a - b) > 1e-13 * (abs(a) + abs(b) + abs(qx - px) + abs(qy - py) + abs(rx - px)
    + abs(ry - py)) THEN
    RETURN sign(a - b);
  END IF;
  RETURN 0;
END
$$;

-- Whether no two edges of a polygon cross or touch, but neighbours at their corner.
CREATE FUNCTION adql_figure_is_simple(f float8[])
RETURNS boolean LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
  n int := (cardinality(f) - 10) / 5;
  px float8; py float8; qx float8; qy float8; cx float8; cy float8; dx float8; dy float8;
BEGIN
  FOR i IN 0 .. n - 1 LOOP
    px := f[14 + 5 * i]; py := f[15 + 5 * i];
    qx := f[14 + 5 * ((i + 1) % n)]; qy := f[15 + 5 * ((i + 1) % n)];
    FOR j IN i + 2 .. n - 1 - CAST(i = 0 AS int) LOOP
      cx := f[14 + 5 * j]; cy := f[15 + 5 * j];
      dx := f[14 + 5 * ((j + 1) % n)]; dy := f[15 + 5 * ((j + 1) % n)];
      CONTINUE WHEN greatest(px, qx) + 1e-13 < least(cx, dx)
        OR greatest(cx, dx) + 1e-13 < least(px, qx)
        OR greatest(py, qy) + 1e-13 < least(cy, dy) OR greatest(cy, dy) + 1e-13 < least(py, qy);
      CONTINUE WHEN adql_side(px, py, qx, qy, cx, cy) * adql_side(px, py, qx, qy, dx, dy) > 0;
      IF adql_side(cx, cy, dx, dy, px, py) * adql_side(cx, cy, dx, dy, qx, qy) <= 0 THEN
        RETURN FALSE;
      END IF;
    END LOOP;
  END LOOP;
  RETURN TRUE;
END
$$;

-- A direction less than 90 deg from every vertex (x, y, z from place 11 on, five numbers each), and
-- the cosine of the cap about it that holds them; NULL if there is none.
CREATE FUNCTION adql_figure_centre(f float8[], n int)
RETURNS float8[] LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
  x float8; y float8; z float8; u float8; v float8; w float8; size float8; low float8; high float8;
  cosine float8; far int; j int;
BEGIN
  FOR attempt IN 0 .. 2 LOOP
    x := 0; y := 0; z := 0;
    IF attempt = 0 THEN
      FOR i IN 11 .. 6 + 5 * n BY 5 LOOP
        x := x + f[i]; y := y + f[i + 1]; z := z + f[i + 2];
      END LOOP;
    ELSIF attempt = 1 THEN
      j := 6 + 5 * n;
      FOR i IN 11 .. 6 + 5 * n BY 5 LOOP
        x := x + f[j + 1] * f[i + 2] - f[j + 2] * f[i + 1];
        y := y + f[j + 2] * f[i] - f[j] * f[i + 2];
        z := z + f[j] * f[i + 1] - f[j + 1] * f[i];
        j := i;
      END LOOP;
    ELSE
      x := f[11]; y := f[12]; z := f[13];
      FOR step IN 1 .. 199 LOOP
        low := 1e9;
        FOR i IN 11 .. 6 + 5 * n BY 5 LOOP
          cosine := x * f[i] + y * f[i + 1] + z * f[i + 2];
          IF cosine < low THEN far := i; low := cosine; END IF;
        END LOOP;
        u := x + (f[far] - x) / (step + 1); v := y + (f[far + 1] - y) / (step + 1);
        w := z + (f[far + 2] - z) / (step + 1);
        IF sqrt(u * u + v * v + w * w) > 1e-9 THEN x := u; y := v; z := w; END IF;
      END LOOP;
    END IF;
    size := sqrt(x * x + y * y + z * z);
    CONTINUE WHEN size < 1e-12;
    x := x / size; y := y / size; z := z / size;
    low := 2; high := -2;
    FOR i IN 11 .. 6 + 5 * n BY 5 LOOP
      cosine := x * f[i] + y * f[i + 1] + z * f[i + 2];
      low := least(low, cosine); high := greatest(high, cosine);
    END LOOP;
    IF low > 1e-4 THEN RETURN ARRAY[x, y, z, low]; END IF;
    IF high < -1e-4 THEN RETURN ARRAY[-x, -y, -z, -high]; END IF;
  END LOOP;
  RETURN NULL;
END
$$;

-- The figure of vertices (lon, lat, lon, lat …; deg); NULL for what is no polygon: a latitude beyond
-- the pole, fewer than three different vertices, more than a hemisphere, and, where is_asked, edges
-- that cross (those of stored regions were looked at before).
CREATE FUNCTION adql_figure(vertices float8[], is_asked boolean)
RETURNS float8[] LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
  f float8[] := array_fill(CAST(0 AS float8), ARRAY[10 + 5 * (cardinality(vertices) / 2)]);
  n int := 0; last int; l float8; b float8; c float8; x float8; y float8; z float8;
  centre float8[]; cx float8; cy float8; cz float8; size float8;
  ux float8; uy float8; uz float8; vx float8; vy float8; vz float8;
BEGIN
  FOR i IN 1 .. cardinality(vertices) / 2 LOOP
    l := vertices[2 * i - 1]; b := vertices[2 * i];
    IF l IS NULL OR b IS NULL OR NOT abs(b) <= 90 OR NOT abs(l) < 'Infinity' THEN
      RETURN NULL;
    END IF;
    l := radians(l); b := radians(b); c := cos(b);
    x := cos(l) * c; y := sin(l) * c; z := sin(b);
    last := 6 + 5 * n;
    CONTINUE WHEN n > 0 AND (x - f[last]) * (x - f[last]) + (y - f[last + 1]) * (y - f[last + 1])
      + (z - f[last + 2]) * (z - f[last + 2]) <= 1e-18;
    f[last + 5] := x; f[last + 6] := y; f[last + 7] := z;
    n := n + 1;
  END LOOP;
  WHILE n > 1 LOOP
    last := 6 + 5 * n;
    x := f[last] - f[11]; y := f[last + 1] - f[12]; z := f[last + 2] - f[13];
    EXIT WHEN x * x + y * y + z * z > 1e-18;
    n := n - 1;
  END LOOP;
  IF n < 3 THEN RETURN NULL; END IF;
  centre := adql_figure_centre(f, n);
  IF centre IS NULL THEN RETURN NULL; END IF;
  cx := centre[1]; cy := centre[2]; cz := centre[3];
  IF abs(cz) < 0.9 THEN
    ux := -cy; uy := cx; uz := 0;
  ELSE
    ux := 0; uy := -cz; uz := cy;
  END IF;
  size := sqrt(ux * ux + uy * uy + uz * uz);
  ux := ux / size; uy := uy / size; uz := uz / size;
  vx := cy * uz - cz * uy; vy := cz * ux - cx * uz; vz := cx * uy - cy * ux;
  f[1] := cx; f[2] := cy; f[3] := cz; f[4] := centre[4];
  f[5] := ux; f[6] := uy; f[7] := uz; f[8] := vx; f[9] := vy; f[10] := vz;
  FOR i IN 11 .. 6 + 5 * n BY 5 LOOP
    x := f[i]; y := f[i + 1]; z := f[i + 2];
    size := x * cx + y * cy + z * cz;
    f[i + 3] := (x * ux + y * uy + z * uz) / size; f[i + 4] := (x * vx + y * vy + z * vz) / size;
  END LOOP;
  f := f[1 : 10 + 5 * n];
  IF is_asked AND NOT adql_figure_is_simple(f) THEN RETURN NULL; END IF;
  RETURN f;
END
$$;

-- Angle (rad) between two unit vectors, exact at every size.
CREATE FUNCTION adql_angle(px float8, py float8, pz float8, qx float8, qy float8, qz float8)
RETURNS float8 LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT atan2(sqrt((py * qz - pz * qy) * (py * qz - pz * qy)
    + (pz * qx - px * qz) * (pz * qx - px * qz) + (px * qy - py * qx) * (px * qy - py * qx)),
    px * qx + py * qy + pz * qz)
$$;

-- Angle (rad) from the direction (x, y, z) to the nearest place of the arc from p to q.
CREATE FUNCTION adql_arc_distance(px float8, py float8, pz float8, qx float8, qy float8, qz float8,
  x float8, y float8, z float8)
RETURNS float8 LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
  nx float8 := py * qz - pz * qy;
  ny float8 := pz * qx - px * qz;
  nz float8 := px * qy - py * qx;
  sine float8 := sqrt(nx * nx + ny * ny + nz * nz);
  along float8 := px * x + py * y + pz * z;
  across float8; turn float8;
BEGIN
  nx := nx / sine; ny := ny / sine; nz := nz / sine;
  across := (ny * pz - nz * py) * x + (nz * px - nx * pz) * y + (nx * py - ny * px) * z;
  turn := atan2(across, along);
  IF turn >= 0 AND turn <= atan2(sine, px * qx + py * qy + pz * qz) THEN
    RETURN abs(atan2(nx * x + ny * y + nz * z, sqrt(along * along + across * across)));
  END IF;
  RETURN least(adql_angle(px, py, pz, x, y, z), adql_angle(qx, qy, qz, x, y, z));
END
$$;

-- Whether a figure holds a direction, its boundary included.
CREATE FUNCTION adql_figure_has(f float8[], x float8, y float8, z float8)
RETURNS boolean LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
  n int := cardinality(f);
  last int := n - 4;
  inside boolean := FALSE;
  depth float8; slack float8; px float8; py float8; x1 float8; y1 float8; x2 float8; y2 float8;
  dx float8; dy float8; ax float8; ay float8; size float8; run float8;
BEGIN
  IF n = 3 THEN
    RETURN adql_angle(f[1], f[2], f[3], x, y, z) < radians(CAST(1e-7 AS float8));
  ELSIF n = 4 THEN
    RETURN adql_angle(f[1], f[2], f[3], x, y, z) <= f[4] + 1e-9;
  END IF;
  depth := x * f[1] + y * f[2] + z * f[3];
  IF depth < f[4] - 2e-9 THEN RETURN FALSE; END IF;
  slack := 4e-9 / (f[4] * f[4]);
  px := (x * f[5] + y * f[6] + z * f[7]) / depth; py := (x * f[8] + y * f[9] + z * f[10]) / depth;
  x1 := f[n - 1]; y1 := f[n];
  FOR i IN 11 .. n - 4 BY 5 LOOP
    x2 := f[i + 3]; y2 := f[i + 4];
    dx := x2 - x1; dy := y2 - y1; ax := px - x1; ay := py - y1;
    IF (y1 > py) <> (y2 > py) THEN
      IF px < x1 + ay * dx / dy THEN inside := NOT inside; END IF;
    END IF;
    size := sqrt(dx * dx + dy * dy);
    IF abs(dx * ay - dy * ax) <= slack * size THEN
      run := dx * ax + dy * ay;
      IF run >= - slack * size AND run <= size * (size + slack) THEN
        IF adql_arc_distance(f[last], f[last + 1], f[last + 2], f[i], f[i + 1], f[i + 2], x, y, z)
          <= 1e-9 THEN
          RETURN TRUE;
        END IF;
      END IF;
    END IF;
    x1 := x2; y1 := y2; last := i;
  END LOOP;
  RETURN inside;
END
$$;

-- Angle (rad) from a direction to the boundary of a polygon.
CREATE FUNCTION adql_figure_rim(f float8[], x float8, y float8, z float8)
RETURNS float8 LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
  last int := cardinality(f) - 4;
  nearest float8 := 10;
BEGIN
  FOR i IN 11 .. cardinality(f) - 4 BY 5 LOOP
    nearest := least(nearest, adql_arc_distance(f[last], f[last + 1], f[last + 2],
      f[i], f[i + 1], f[i + 2], x, y, z));
    last := i;
  END LOOP;
  RETURN nearest;
END
$$;

-- Turns along the arc from p to q at which it meets the arc from c to d; none if both lie in one
-- plane.
CREATE FUNCTION adql_crossings(px float8, py float8, pz float8, qx float8, qy float8, qz float8,
  cx float8, cy float8, cz float8, dx float8, dy float8, dz float8)
RETURNS float8[] LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
  nx float8 := py * qz - pz * qy;
  ny float8 := pz * qx - px * qz;
  nz float8 := px * qy - py * qx;
  mx float8 := cy * dz - cz * dy;
  my float8 := cz * dx - cx * dz;
  mz float8 := cx * dy - cy * dx;
  n float8 := sqrt(nx * nx + ny * ny + nz * nz);
  m float8 := sqrt(mx * mx + my * my + mz * mz);
  span float8 := atan2(n, px * qx + py * qy + pz * qz);
  other float8 := atan2(m, cx * dx + cy * dy + cz * dz);
  x float8; y float8; z float8; sine float8; turn float8; turns float8[] := '{}';
BEGIN
  nx := nx / n; ny := ny / n; nz := nz / n;
  mx := mx / m; my := my / m; mz := mz / m;
  x := ny * mz - nz * my; y := nz * mx - nx * mz; z := nx * my - ny * mx;
  sine := sqrt(x * x + y * y + z * z);
  IF sine < 1e-12 THEN RETURN turns; END IF;
  FOR i IN 1 .. 2 LOOP
    sine := - sine;
    turn := atan2(((my * cz - mz * cy) * x + (mz * cx - mx * cz) * y + (mx * cy - my * cx) * z)
      / sine, (cx * x + cy * y + cz * z) / sine);
    CONTINUE WHEN turn < -1e-9 OR turn > other + 1e-9;
    turn := atan2(((ny * pz - nz * py) * x + (nz * px - nx * pz) * y + (nx * py - ny * px) * z)
      / sine, (px * x + py * y + pz * z) / sine);
    CONTINUE WHEN turn < -1e-9 OR turn > span + 1e-9;
    turns := turns || greatest(turn, 0);
  END LOOP;
  RETURN turns;
END
$$;

-- Whether two polygons have a direction in common.
CREATE FUNCTION adql_polygons_meet(a float8[], b float8[])
RETURNS boolean LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
  k int := cardinality(a) - 4; m int := cardinality(b) - 4;
  x float8; y float8; z float8; size float8; side float8; before float8;
BEGIN
  IF adql_angle(a[1], a[2], a[3], b[1], b[2], b[3]) > acos(least(a[4], 1)) + acos(least(b[4], 1))
    + 1e-7 THEN
    RETURN FALSE;
  END IF;
  FOR i IN 11 .. cardinality(a) - 4 BY 5 LOOP
    IF adql_figure_has(b, a[i], a[i + 1], a[i + 2]) THEN RETURN TRUE; END IF;
  END LOOP;
  FOR i IN 11 .. cardinality(b) - 4 BY 5 LOOP
    IF adql_figure_has(a, b[i], b[i + 1], b[i + 2]) THEN RETURN TRUE; END IF;
  END LOOP;
  FOR j IN 11 .. cardinality(b) - 4 BY 5 LOOP
    x := b[m + 1] * b[j + 2] - b[m + 2] * b[j + 1];
    y := b[m + 2] * b[j] - b[m] * b[j + 2];
    z := b[m] * b[j + 1] - b[m + 1] * b[j];
    size := 4e-9 * sqrt(x * x + y * y + z * z);
    before := x * a[k] + y * a[k + 1] + z * a[k + 2];
    FOR i IN 11 .. cardinality(a) - 4 BY 5 LOOP
      side := x * a[i] + y * a[i + 1] + z * a[i + 2];
      IF least(before, side) <= size AND greatest(before, side) >= - size THEN
        IF cardinality(adql_crossings(a[k], a[k + 1], a[k + 2], a[i], a[i + 1], a[i + 2],
          b[m], b[m + 1], b[m + 2], b[j], b[j + 1], b[j + 2])) > 0 THEN
          RETURN TRUE;
        END IF;
      END IF;
      before := side; k := i;
    END LOOP;
    m := j;
  END LOOP;
  RETURN FALSE;
END
$$;

-- Whether two figures have a direction in common.
CREATE FUNCTION adql_figures_meet(a float8[], b float8[])
RETURNS boolean LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
  apart float8;
BEGIN
  IF cardinality(a) > 4 AND cardinality(b) > 4 THEN
    RETURN adql_polygons_meet(a, b);
  ELSIF cardinality(b) > 4 OR cardinality(b) > cardinality(a) THEN
    RETURN adql_figures_meet(b, a);
  ELSIF cardinality(b) = 3 THEN
    RETURN adql_figure_has(a, b[1], b[2], b[3]);
  END IF;
  apart := adql_angle(a[1], a[2], a[3], b[1], b[2], b[3]);
  IF cardinality(a) = 4 THEN
    RETURN apart <= a[4] + b[4] + 1e-9;
  ELSIF apart > b[4] + acos(least(a[4], 1)) + 1e-7 THEN
    RETURN FALSE;
  END IF;
  RETURN adql_figure_has(a, b[1], b[2], b[3])
    OR adql_figure_rim(a, b[1], b[2], b[3]) <= b[4] + 1e-9;
END
$$;

-- Whether a polygon holds the arc between two places in it: where the boundary meets the arc, it is
-- cut, and the middle of each piece decides.
CREATE FUNCTION adql_figure_has_arc(f float8[], px float8, py float8, pz float8,
  qx float8, qy float8, qz float8)
RETURNS boolean LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
  nx float8 := py * qz - pz * qy;
  ny float8 := pz * qx - px * qz;
  nz float8 := px * qy - py * qx;
  n float8 := sqrt(nx * nx + ny * ny + nz * nz);
  span float8 := atan2(n, px * qx + py * qy + pz * qz);
  k int := cardinality(f) - 4;
  side float8; before float8 := (nx * f[k] + ny * f[k + 1] + nz * f[k + 2]) / n;
  turns float8[] := ARRAY[0, span]; turn float8; last float8 := 0; middle float8;
BEGIN
  nx := nx / n; ny := ny / n; nz := nz / n;
  FOR i IN 11 .. cardinality(f) - 4 BY 5 LOOP
    side := nx * f[i] + ny * f[i + 1] + nz * f[i + 2];
    IF least(before, side) <= 4e-9 AND greatest(before, side) >= -4e-9 THEN
      turns := turns || adql_crossings(px, py, pz, qx, qy, qz, f[k], f[k + 1], f[k + 2],
        f[i], f[i + 1], f[i + 2]);
    END IF;
    before := side; k := i;
  END LOOP;
  IF cardinality(turns) > 2 THEN
    turns := ARRAY(SELECT least(t, span) FROM unnest(turns) AS u (t) ORDER BY 1);
  END IF;
  FOREACH turn IN ARRAY turns LOOP
    IF turn - last > 1e-9 THEN
      middle := (turn + last) / 2;
      IF NOT adql_figure_has(f,
        px * cos(middle) + (ny * pz - nz * py) * sin(middle),
        py * cos(middle) + (nz * px - nx * pz) * sin(middle),
        pz * cos(middle) + (nx * py - ny * px) * sin(middle)) THEN
        RETURN FALSE;
      END IF;
      last := turn;
    END IF;
  END LOOP;
  RETURN TRUE;
END
$$;

-- Whether every direction of the figure f lies in the figure o.
CREATE FUNCTION adql_figure_within(f float8[], o float8[])
RETURNS boolean LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
  k int := cardinality(f) - 4;
BEGIN
  IF cardinality(f) = 3 THEN
    RETURN adql_figure_has(o, f[1], f[2], f[3]);
  ELSIF cardinality(o) = 3 THEN
    RETURN FALSE;
  ELSIF cardinality(o) = 4 AND cardinality(f) = 4 THEN
    RETURN least(pi(), adql_angle(f[1], f[2], f[3], o[1], o[2], o[3]) + f[4]) <= o[4] + 1e-9;
  ELSIF cardinality(o) = 4 THEN
    -- The farthest direction is the one nearest to the antipode of the centre.
    IF adql_figure_has(f, - o[1], - o[2], - o[3]) THEN RETURN pi() <= o[4] + 1e-9; END IF;
    RETURN pi() - adql_figure_rim(f, - o[1], - o[2], - o[3]) <= o[4] + 1e-9;
  ELSIF cardinality(f) = 4 THEN
    RETURN adql_figure_has(o, f[1], f[2], f[3])
      AND adql_figure_rim(o, f[1], f[2], f[3]) >= f[4] - 1e-9;
  END IF;
  FOR i IN 11 .. cardinality(f) - 4 BY 5 LOOP
    IF NOT adql_figure_has(o, f[i], f[i + 1], f[i + 2]) THEN RETURN FALSE; END IF;
  END LOOP;
  FOR i IN 11 .. cardinality(f) - 4 BY 5 LOOP
    IF NOT adql_figure_has_arc(o, f[k], f[k + 1], f[k + 2], f[i], f[i + 1], f[i + 2]) THEN
      RETURN FALSE;
    END IF;
    k := i;
  END LOOP;
  -- Both boundaries being settled, only the side on which the rest of the sky lies is open.
  RETURN NOT adql_figure_has(f, - o[1], - o[2], - o[3]);
END
$$;
