"""The metadata tables on SQLite and on PostgreSQL, behind one interface."""
