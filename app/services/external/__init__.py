"""Rows of ObsCore whose images lie elsewhere: read, checked, imported."""
