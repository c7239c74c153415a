"""The thin room that knows HTTP."""
