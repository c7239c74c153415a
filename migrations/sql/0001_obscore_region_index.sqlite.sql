-- R*Tree over the box of each s_region in unit-vector space: no poles, no wrap at 0/360 degrees.
-- Bounds are 32-bit floats that SQLite rounds outwards, so a box never loses its region.
-- DatasetStore keeps it in step with obscore.
CREATE VIRTUAL TABLE obscore_region_index
USING rtree(row_id, x_min, x_max, y_min, y_max, z_min, z_max);

-- A row that goes takes its box along, whoever deletes it.
CREATE TRIGGER obscore_region_index_delete AFTER DELETE ON obscore
BEGIN DELETE FROM obscore_region_index WHERE row_id = old.row_id; END;

-- Lets init and doctor see at once whether every region has its box.
CREATE INDEX obscore_with_region ON obscore (row_id) WHERE s_region IS NOT NULL;
