"""Where heavy work runs: in this machine's processes or on a Dask cluster."""
