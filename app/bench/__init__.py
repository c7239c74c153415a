"""How fast Skyloom is on a machine and on its data, beside figures of a machine that is known."""
