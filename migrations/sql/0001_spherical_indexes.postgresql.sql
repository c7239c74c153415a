-- pgSphere's polygon of each s_region (the text column stays what users read), indexed with GiST.
-- DatasetStore fills it on every write.
ALTER TABLE obscore ADD COLUMN s_region_spoly spoly;

CREATE INDEX obscore_s_region_spoly ON obscore USING gist (s_region_spoly);

-- Cone searches on the central position.
CREATE INDEX obscore_s_ra_s_dec ON obscore
USING gist (spoint(radians(s_ra), radians(s_dec)));
