"""ADQL text to SQL by small passes."""
