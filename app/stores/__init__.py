"""Everything that is kept: tables, jobs, images, results."""
