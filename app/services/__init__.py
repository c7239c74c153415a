"""Use cases: plain functions of data over the stores and workers."""
