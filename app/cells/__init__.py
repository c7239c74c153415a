"""Cells: arrow columns to the bytes of rows, compiled; what the writers of all formats share."""
