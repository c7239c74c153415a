-- pgSphere's polygon of each s_region (the text column stays what users read), indexed with GiST.
-- DatasetStore fills it on every write.
ALTER TABLE obscore ADD COLUMN s_region_spoly spoly;

CREATE INDEX obscore_s_region_spoly ON obscore USING gist (s_region_spoly);

-- Cone searches on the central position.
CREATE INDEX obscore_s_ra_s_dec ON obscore
USING gist (spoint(radians(s_ra), radians(s_dec)));

-- Always empty; lets init and doctor see at once whether every region has its polygon.
CREATE INDEX obscore_unindexed_region ON obscore (row_id)
WHERE s_region IS NOT NULL AND s_region_spoly IS NULL;
