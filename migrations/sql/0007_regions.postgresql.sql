-- Angle (rad) between two unit vectors. The divisor lies just above 2, so that rounding never takes
-- the sine beyond 1.
CREATE FUNCTION adql_apart(x float8, y float8, z float8, u float8, v float8, w float8)
RETURNS float8 LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT 2 * asin(sqrt((x - u) * (x - u) + (y - v) * (y - v) + (z - w) * (z - w))
    / 2.0000000000000009)
$$;

-- Where the unit vector (u, v, w) lies in the plane that touches the sky at (x, y, z), 32768 units a
-- radian; NULL beyond 78 deg. The axes are those of app.sky.tangent_planes.
CREATE FUNCTION adql_tangent(x float8, y float8, z float8, u float8, v float8, w float8)
RETURNS point LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE WHEN x * u + y * v + z * w > 0.2 THEN point(
    32768 * (u - x * ((x * u + y * v) / (1 + abs(z)) + CASE WHEN z < 0 THEN - w ELSE w END))
      / (x * u + y * v + z * w),
    32768 * (v - y * ((x * u + y * v) / (1 + abs(z)) + CASE WHEN z < 0 THEN - w ELSE w END))
      / (x * u + y * v + z * w)) END
$$;
