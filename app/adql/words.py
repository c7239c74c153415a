"""The reserved words of ADQL 2.1 (section 2.1.2) and what each is to the grammar."""

from __future__ import annotations

from typing import Final

KEYWORDS: Final = frozenset(
    ["ALL", "AND", "AS", "ASC", "BETWEEN", "BIGINT", "BY", "CAST", "CHAR", "COUNT", "DESC", "DISTINCT", "DOUBLE", "EXCEPT", "EXISTS", "FROM", "FULL", "GROUP", "HAVING", "ILIKE", "IN", "INNER", "INTEGER", "INTERSECT", "IS", "JOIN", "LEFT", "LIKE", "NATURAL", "NOT", "NULL", "OFFSET", "ON", "OR", "ORDER", "OUTER", "PRECISION", "REAL", "RIGHT", "SELECT", "SMALLINT", "TIMESTAMP", "TOP", "UNION", "USING", "VARCHAR", "WHERE", "WITH"]
)
"""Words with a place of their own in the grammar."""

AGGREGATES: Final = frozenset({"AVG", "MAX", "MIN", "SUM"})

SHAPES: Final = frozenset({"POINT", "CIRCLE", "POLYGON", "BOX", "REGION", "CENTROID"})
"""Functions whose value is a geometry."""

GEOMETRY: Final = SHAPES | {
    "AREA",
    "CONTAINS",
    "COORD1",
    "COORD2",
    "COORDSYS",
    "DISTANCE",
    "INTERSECTS",
}

FUNCTIONS: Final = GEOMETRY | frozenset(
    ["ABS", "ACOS", "ASIN", "ATAN", "ATAN2", "CEILING", "COALESCE", "COS", "COT", "DEGREES", "EXP", "FLOOR", "IN_UNIT", "LOG", "LOG10", "LOWER", "MOD", "PI", "POWER", "RADIANS", "RAND", "ROUND", "SIN", "SQRT", "TAN", "TRUNCATE", "UPPER"]
)

_SQL_RESERVED: Final = frozenset(
    ["ABSOLUTE", "ACTION", "ADD", "ALLOCATE", "ALTER", "ANY", "ARE", "ASSERTION", "AT", "AUTHORIZATION", "BEGIN", "BIT", "BIT_LENGTH", "BOTH", "CASCADE", "CASCADED", "CASE", "CATALOG", "CHARACTER", "CHAR_LENGTH", "CHARACTER_LENGTH", "CHECK", "CLOSE", "COLLATE", "COLLATION", "COLUMN", "COMMIT", "CONNECT", "CONNECTION", "CONSTRAINT", "CONSTRAINTS", "CONTINUE", "CONVERT", "CORRESPONDING", "CREATE", "CROSS", "CURRENT", "CURRENT_DATE", "CURRENT_TIME", "CURRENT_TIMESTAMP", "CURRENT_USER", "CURSOR", "DATE", "DAY", "DEALLOCATE", "DECIMAL", "DECLARE", "DEFAULT", "DEFERRABLE", "DEFERRED", "DELETE", "DESCRIBE", "DESCRIPTOR", "DIAGNOSTICS", "DISCONNECT", "DOMAIN", "DROP", "ELSE", "END", "ESCAPE", "EXCEPTION", "EXEC", "EXECUTE", "EXTERNAL", "EXTRACT", "FALSE", "FETCH", "FIRST", "FLOAT", "FOR", "FOREIGN", "FOUND", "GET", "GLOBAL", "GO", "GOTO", "GRANT", "HOUR", "IDENTITY", "IMMEDIATE", "INDICATOR", "INITIALLY", "INPUT", "INSENSITIVE", "INSERT", "INT", "INTERVAL", "INTO", "ISOLATION", "KEY", "LANGUAGE", "LAST", "LEADING", "LEVEL", "LOCAL", "MATCH", "MINUTE", "MODULE", "MONTH", "NAMES", "NATIONAL", "NCHAR", "NEXT", "NO", "NULLIF", "NUMERIC", "OCTET_LENGTH", "OF", "ONLY", "OPEN", "OPTION", "OUTPUT", "OVERLAPS", "PAD", "PARTIAL", "POSITION", "PREPARE", "PRESERVE", "PRIMARY", "PRIOR", "PRIVILEGES", "PROCEDURE", "PUBLIC", "READ", "REFERENCES", "RELATIVE", "RESTRICT", "REVOKE", "ROLLBACK", "ROWS", "SCHEMA", "SCROLL", "SECOND", "SECTION", "SESSION", "SESSION_USER", "SET", "SIZE", "SOME", "SPACE", "SQL", "SQLCODE", "SQLERROR", "SQLSTATE", "SUBSTRING", "SYSTEM_USER", "TABLE", "TEMPORARY", "THEN", "TIME", "TIMEZONE_HOUR", "TIMEZONE_MINUTE", "TO", "TRAILING", "TRANSACTION", "TRANSLATE", "TRANSLATION", "TRIM", "TRUE", "UNIQUE", "UNKNOWN", "UPDATE", "USAGE", "USER", "VALUE", "VALUES", "VARYING", "VIEW", "WHEN", "WHENEVER", "WORK", "WRITE", "YEAR", "ZONE"]
)

RESERVED: Final = KEYWORDS | AGGREGATES | FUNCTIONS | _SQL_RESERVED
"""Every word that must stand in double quotes to be used as a name."""

_TERMINALS: Final = {
    **dict.fromkeys(_SQL_RESERVED, "RESERVED"),
    **dict.fromkeys(FUNCTIONS, "FUNCTION"),
    **dict.fromkeys(AGGREGATES, "AGGREGATE"),
    **{word: word for word in KEYWORDS},
}


def terminal_of(word: str) -> str:
    """Name of the grammar terminal that a word is: NAME unless it is reserved."""
    return _TERMINALS.get(word.upper(), "NAME")
