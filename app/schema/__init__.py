"""Which tables there are, as data: TAP_SCHEMA, VOSI, the compiler and DDL all read it."""
