"""PostgreSQL: positions under an index of plane points, several times faster to build."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from alembic import op

from app.adql.spatial_index import plane_position
from app.stores.pgsphere import has_pgsphere

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

SQL = Path(__file__).resolve().parents[1] / "sql"

FUNCTIONS = (
    "adql_frame(float8[], int)",
    "adql_reach(float8, float8, float8, int)",
)

_SPHERE = re.compile(r"\(spoint\(radians\((.*)\), radians\((.*)\)\)\)$")
_PLANE = re.compile(r"\(point\(\((.*) - .* floor\(.*\)\), (.*)\)\)$")


def upgrade() -> None:
    """Create the functions of frames on the sky and index the positions of every table anew."""
    if op.get_bind().dialect.name == "postgresql":
        text = (SQL / "0005_positions.postgresql.sql").read_text(encoding="utf-8")
        op.get_bind().exec_driver_sql(text.replace("%", "%%"))
        for name, table, lon, lat in list(_position_indexes(_SPHERE)):
            _index(name, table, plane_position(lon, lat))
        if not has_pgsphere(op.get_bind()):
            op.execute(
                "CREATE INDEX obscore_s_ra_s_dec ON obscore"
                f" USING gist ({plane_position('s_ra', 's_dec')})"
            )


def downgrade() -> None:
    """Go back to pgSphere's points."""
    if op.get_bind().dialect.name == "postgresql":
        for name, table, lon, lat in list(_position_indexes(_PLANE)):
            _index(name, table, f"spoint(radians({lon}), radians({lat}))")
        for function in FUNCTIONS:
            op.execute(f"DROP FUNCTION {function}")


def _position_indexes(form: re.Pattern[str]) -> Iterator[tuple[str, str, str, str]]:
    """Index, table, longitude and latitude as the database writes them."""
    query = (
        "SELECT c.relname, t.relname, pg_get_indexdef(i.indexrelid) FROM pg_index i"
        " JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_class t ON t.oid = i.indrelid"
        " JOIN pg_namespace n ON n.oid = t.relnamespace WHERE n.nspname = current_schema()"
        " AND n.oid = c.relnamespace ORDER BY 1"
    )
    for name, table, definition in op.get_bind().exec_driver_sql(query).all():
        found = form.search(definition)
        if found:
            yield name, table, found[1], found[2]


def _index(name: str, table: str, position: str) -> None:
    op.execute(f'DROP INDEX "{name}"')
    op.execute(f'CREATE INDEX "{name}" ON "{table}" USING gist ({position})')
