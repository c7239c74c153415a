"""The other table formats: CSV, TSV, FITS, Parquet, JSON."""
