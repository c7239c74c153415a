-- What compiled queries call for CAST and for user functions. SQLite has functions of the same
-- names and results (app/adql/sqlite_more_functions.py). NULL in gives NULL out, and what cannot
-- be converted is NULL.
CREATE FUNCTION adql_cast_whole(v bigint, low bigint, high bigint) RETURNS bigint
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
  SELECT CASE WHEN v BETWEEN low AND high THEN v END
$$;

CREATE FUNCTION adql_cast_whole(v double precision, low bigint, high bigint) RETURNS bigint
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
  -- The bounds of bigint are no doubles; numeric holds both.
  IF abs(v) < 1e20 AND CAST(round(v) AS numeric) BETWEEN low AND high
    AND abs(v) < 9223372036854775808 THEN
    RETURN CAST(round(v) AS bigint);
  END IF;
  RETURN NULL;
END
$$;

CREATE FUNCTION adql_cast_whole(v text, low bigint, high bigint) RETURNS bigint
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
  IF btrim(v) ~ '^[+-]?[0-9]{1,30}$' AND CAST(v AS numeric) BETWEEN low AND high THEN
    RETURN CAST(v AS bigint);
  END IF;
  RETURN NULL;
END
$$;

CREATE FUNCTION adql_cast_whole(v boolean, low bigint, high bigint) RETURNS bigint
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
  SELECT CASE WHEN v THEN 1 ELSE 0 END
$$;

CREATE FUNCTION adql_cast_double(v text) RETURNS double precision
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
  n numeric;
BEGIN
  IF btrim(v) !~ '^[+-]?([0-9]{1,200}[0-9]{0,100}\.?[0-9]{0,200}[0-9]{0,100}|\.[0-9]{1,200}[0-9]{0,100})([eE][+-]?[0-9]{1,3})?$' THEN
    RETURN NULL;
  END IF;
  n := CAST(v AS numeric);
  -- Just below the middle between the greatest double and the next power of two.
  IF abs(n) >= 1.797693134862315807e308 THEN
    RETURN NULL;
  END IF;
  RETURN CASE WHEN abs(n) < 2.2250738585072014e-308 THEN 0 ELSE CAST(n AS double precision) END;
END
$$;

CREATE FUNCTION adql_cast_single(v double precision) RETURNS double precision
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
  SELECT CASE WHEN abs(v) > 3.4028235677973362e38 THEN NULL
    WHEN abs(v) < 1.1754943508222875e-38 THEN 0
    ELSE CAST(CAST(v AS real) AS double precision) END
$$;

CREATE FUNCTION adql_real_text(v double precision) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
  SELECT CAST(v AS text)
$$;

CREATE FUNCTION adql_boolean_text(v boolean) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
  SELECT CAST(v AS text)
$$;

-- Year, month, day, hour, minute, second, decimals of the second; NULL for what is no instant.
CREATE FUNCTION adql_instant(v text) RETURNS text[]
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
  p text[];
  y integer;
  m integer;
BEGIN
  p := regexp_match(btrim(v), '^([0-9]{4})-([0-9]{2})-([0-9]{2})(?:[T ]([0-9]{2}):([0-9]{2})(?::([0-9]{2})(\.[0-9]{1,12})?)?)?Z?$');
  IF p IS NULL THEN
    RETURN NULL;
  END IF;
  y := p[1];
  m := p[2];
  IF y < 1 OR m NOT BETWEEN 1 AND 12 OR coalesce(p[4], '00') > '23'
    OR coalesce(p[5], '00') > '59' OR coalesce(p[6], '00') > '59' THEN
    RETURN NULL;
  END IF;
  IF CAST(p[3] AS integer) NOT BETWEEN 1 AND (CASE
    WHEN m IN (4, 6, 9, 11) THEN 30
    WHEN m <> 2 THEN 31
    WHEN mod(y, 4) = 0 AND (mod(y, 100) <> 0 OR mod(y, 400) = 0) THEN 29
    ELSE 28 END) THEN
    RETURN NULL;
  END IF;
  RETURN p[1:3] || ARRAY[coalesce(p[4], '00'), coalesce(p[5], '00'), coalesce(p[6], '00'),
    coalesce(p[7], '')];
END
$$;

CREATE FUNCTION adql_cast_timestamp(v text) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
  p text[] := adql_instant(v);
BEGIN
  RETURN p[1] || '-' || p[2] || '-' || p[3] || 'T' || p[4] || ':' || p[5] || ':' || p[6] || '.'
    || rpad(substr(p[7], 2, 3), 3, '0');
END
$$;

CREATE FUNCTION adql_mjd(v text) RETURNS double precision
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
  p text[] := adql_instant(v);
  s integer;
BEGIN
  IF p IS NULL THEN
    RETURN NULL;
  END IF;
  s := (CAST(p[4] AS integer) * 60 + CAST(p[5] AS integer)) * 60 + CAST(p[6] AS integer);
  RETURN (make_date(CAST(p[1] AS integer), CAST(p[2] AS integer), CAST(p[3] AS integer))
    - DATE '1858-11-17')
    + (s + CAST('0' || p[7] AS double precision)) / CAST(86400 AS double precision);
END
$$;

-- Words in lower case (A to Z only), one blank around each; the rest separates them.
CREATE FUNCTION adql_words(v text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
  SELECT regexp_replace(' ' || lower(v COLLATE "C") || ' ',
    '[\x01-\x2f\x3a-\x40\x5b-\x60\x7b-\x7f]+' COLLATE "C", ' ', 'g')
$$;

CREATE FUNCTION adql_hasword(haystack text, needle text) RETURNS integer
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
  SELECT CASE WHEN adql_words(needle) <> ' '
    AND position(adql_words(needle) IN adql_words(haystack)) > 0 THEN 1 ELSE 0 END
$$;

-- One end of an interval in DALI form.
CREATE FUNCTION adql_bound(v text) RETURNS double precision
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
  SELECT CASE WHEN lower(v COLLATE "C") = '-inf' THEN CAST('-Infinity' AS double precision)
    WHEN lower(v COLLATE "C") IN ('inf', '+inf') THEN CAST('Infinity' AS double precision)
    ELSE adql_cast_double(v) END
$$;

CREATE FUNCTION adql_interval_has(v double precision, iv text) RETURNS integer
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
  p text[] := regexp_match(iv, '^ *([^ ]+) +([^ ]+) *$');
  low double precision := adql_bound(p[1]);
  high double precision := adql_bound(p[2]);
BEGIN
  RETURN CASE WHEN low IS NOT NULL AND high IS NOT NULL
    THEN CAST(v BETWEEN low AND high AS integer) END;
END
$$;

-- A number from 0 to 1 that the seed alone determines.
CREATE FUNCTION adql_random_of(seed text) RETURNS double precision
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
  SELECT CAST(CAST(CAST('x' || substr(md5(seed), 1, 13) AS bit(52)) AS bigint)
    AS double precision) / 4503599627370496
$$;

-- The bits of a number of 32 bits with a zero before each.
CREATE FUNCTION adql_spread(v bigint) RETURNS bigint
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
  r bigint := v;
BEGIN
  r := (r | (r << 16)) & 281470681808895;
  r := (r | (r << 8)) & 71777214294589695;
  r := (r | (r << 4)) & 1085102592571150095;
  r := (r | (r << 2)) & 3689348814741910323;
  RETURN (r | (r << 1)) & 6148914691236517205;
END
$$;

-- HEALPix cell, nested scheme; the steps of app/adql/healpix.py, one by one.
CREATE FUNCTION adql_healpix(
  level double precision, lon double precision, lat double precision
) RETURNS bigint
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
  k integer;
  side bigint;
  z double precision;
  q double precision;
  reach double precision;
  a bigint;
  b bigint;
  face bigint;
  x bigint;
  y bigint;
BEGIN
  IF level NOT BETWEEN 0 AND 29 OR lat NOT BETWEEN -90 AND 90 OR abs(lon) > 1e6 THEN
    RETURN NULL;
  END IF;
  k := trunc(level);
  side := CAST(1 AS bigint) << k;
  z := sin(radians(lat));
  q := (lon - 360 * floor(lon / 360)) / 90;
  IF q >= 4 THEN
    q := 0;  -- rounding, just below a full turn
  END IF;
  IF abs(z) <= CAST(2 AS double precision) / 3 THEN
    a := floor(side * (0.5 + q) - side * (z * 0.75));
    b := floor(side * (0.5 + q) + side * (z * 0.75));
    face := CASE WHEN a >> k = b >> k THEN (a >> k) | 4
      WHEN a >> k < b >> k THEN a >> k ELSE (b >> k) + 8 END;
    x := b & (side - 1);
    y := side - (a & (side - 1)) - 1;
  ELSE
    reach := side * sqrt(CAST(3 AS double precision)) * cos(radians(lat)) / sqrt(1 + abs(z));
    face := least(3, floor(q));
    a := least(side - 1, floor((q - face) * reach));
    b := least(side - 1, floor((1 - (q - face)) * reach));
    IF z >= 0 THEN
      x := side - b - 1;
      y := side - a - 1;
    ELSE
      face := face + 8;
      x := a;
      y := b;
    END IF;
  END IF;
  RETURN (face << (2 * k)) + adql_spread(x) + 2 * adql_spread(y);
END
$$;
