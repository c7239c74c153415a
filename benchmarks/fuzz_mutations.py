"""Query texts that nobody would write: mutations of the conformance corpora, from a seed."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from app.adql.compile import compile_query
from app.adql.words import terminal_of
from app.errors import ServiceError
from app.schema.catalog import CATALOG
from app.schema.obscore import OBSCORE
from tests.machine import SHARED

PREFIXES: Final = {"service_url": "http://fuzz"}

_TOKEN: Final = re.compile(
    r"--[^\n]*|'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|[A-Za-z_]\w*|\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|\s+|."
)

OWN: Final = (
    "SELECT * FROM ivoa.ObsCore WHERE 1 = CONTAINS(POINT('ICRS', 10.0, 0.0), s_region)",
    "SELECT obs_id, s_ra FROM ivoa.ObsCore WHERE DISTANCE(s_ra, s_dec, 10.1, 0.0) < 0.2",
    "SELECT a.obs_id FROM ivoa.ObsCore AS a JOIN ivoa.ObsCore AS b ON a.obs_id = b.obs_id",
    "SELECT * FROM ivoa.ObsCore NATURAL JOIN (SELECT obs_id FROM ivoa.ObsCore) AS x",
    "SELECT c.column_name FROM TAP_SCHEMA.columns AS c LEFT JOIN TAP_SCHEMA.tables AS t "
    "USING (table_name) ORDER BY 1",
    "WITH w AS (SELECT s_ra, s_dec FROM ivoa.ObsCore) SELECT AVG(s_ra) FROM w GROUP BY s_dec",
    "SELECT calib_level, COUNT(DISTINCT obs_id) AS n FROM ivoa.ObsCore GROUP BY calib_level "
    "HAVING COUNT(*) > 1 ORDER BY n DESC OFFSET 1",
    "SELECT obs_id FROM ivoa.ObsCore UNION ALL SELECT obs_title FROM ivoa.ObsCore "
    "EXCEPT SELECT 'x' FROM TAP_SCHEMA.tables",
    "SELECT TOP 5 CASE WHEN s_ra > 10 THEN 'a' ELSE LOWER(obs_id) END AS k FROM ivoa.ObsCore",
    "SELECT CAST(s_ra AS INTEGER), COALESCE(target_name, 'none') || obs_id FROM ivoa.ObsCore "
    "WHERE obs_id ILIKE '%1%' AND s_dec NOT BETWEEN 3 AND 4",
    "SELECT CIRCLE('ICRS', s_ra, s_dec, 0.1), POLYGON(1, 1, 2, 1, 2, 2), AREA(s_region), "
    "CENTROID(s_region), COORD1(POINT(s_ra, s_dec)) FROM ivoa.ObsCore",
    "SELECT * FROM ivoa.ObsCore WHERE INTERSECTS(BOX(10, 0, 1, 1), s_region) = 1 AND "
    "obs_id IN (SELECT obs_id FROM ivoa.ObsCore WHERE EXISTS (SELECT 1 FROM TAP_SCHEMA.keys))",
    "SELECT ROUND(s_ra, 2), POWER(s_dec, 2), LOG10(ABS(s_ra)), MOD(calib_level, 2), "
    "ATAN2(s_ra, s_dec), RAND(3), IN_UNIT(s_ra, 'rad') FROM ivoa.ObsCore",
    "SELECT ivo_healpix_index(5, s_ra, s_dec), ivo_hasword(obs_id, 'visit') FROM ivoa.ObsCore",
    'SELECT "s_ra" AS "a b", 0xFF FROM "ivoa"."ObsCore" -- a comment',
    "SELECT table_name FROM TAP_SCHEMA.tables WHERE table_index IS NOT NULL",
    "SELECT product_id, weight FROM skyloom.product_input WHERE role <> 'science'",
)

_TABLES: Final = ("ivoa.ObsCore", "TAP_SCHEMA.columns", "TAP_SCHEMA.tables", "ivoa.ObsCore AS q")
_COLUMNS: Final = (*(field.name for field in OBSCORE.fields), "column_name", "table_name", "size")
_HIDDEN: Final = (
    "file_path", "file_checksum", "image_ref", "origin", "recipe_key", "row_id", "rowid", "job",
    "sqlite_master", "pg_catalog.pg_class", "obscore", "ctid", "oid", "s_region_bounds", "alembic",
)  # fmt: skip
_CHARACTERS: Final = (
    "'", '"', "''", ";", "--", "/*", "*/", "\\", "\0", "\x07", "\u200b", "\ud7ff", "𝒳", "é", "ß",
    "%", "_", ":", ":p1", "?", "$1", "@", "#", "`", "[", "]", "{", "}", "||", "<>", "\r", "\x0b",
    "\u2028", "İ", "ﬁ", "--\n", "0x", "1e999", "9" * 25, "-", "::text", "\\'", "%s", "%(a)s",
)  # fmt: skip

Mutation = Callable[[random.Random, list[str], Sequence[list[str]]], list[str]]


def tokens_of(text: str) -> list[str]:
    """Words, numbers, strings, comments, blanks and single characters, in order."""
    return _TOKEN.findall(text)


def corpus() -> list[list[str]]:
    """Token lists of our own queries, and of the conformance collections where they are: as they
    stand, and with their names replaced by names that exist."""
    texts = list(OWN)
    folder = SHARED / "conformance" / "adql"
    for name in ("obscore_queries", "valid_and_invalid"):
        path = folder / f"{name}.json"
        if path.is_file():
            texts += [str(entry["adql"]) for entry in json.loads(path.read_text())]
    found = [tokens_of(text) for text in texts]
    rng = random.Random(1)
    found += [named(rng, tokens) for tokens in found[len(OWN) :] for _ in range(3)]
    right = [tokens for tokens in found if _compiles("".join(tokens))]
    # Only what is nearly right comes as far as the database: more of it.
    return found + right * (1 + 2 * len(found) // len(right))


def _compiles(text: str) -> bool:
    try:
        compile_query(text, catalog=CATALOG, target="sqlite", maxrec=1, prefixes=PREFIXES)
    except ServiceError:
        return False
    return True


def named(rng: random.Random, tokens: list[str]) -> list[str]:
    """The same query about published tables and columns."""
    out: list[str] = []
    after_from = False
    for token in tokens:
        is_name = re.match(r"[A-Za-z_]", token) and terminal_of(token) == "NAME"
        out.append(rng.choice(_TABLES if after_from else _COLUMNS) if is_name else token)
        if token.strip():
            after_from = token.upper() in {"FROM", "JOIN"}
    return out


def _place(rng: random.Random, tokens: list[str]) -> int:
    return rng.randrange(len(tokens)) if tokens else 0


def _drop(rng: random.Random, tokens: list[str], _: Sequence[list[str]]) -> list[str]:
    start = _place(rng, tokens)
    return tokens[:start] + tokens[start + rng.randint(1, 3) :]


def _double(rng: random.Random, tokens: list[str], _: Sequence[list[str]]) -> list[str]:
    start = _place(rng, tokens)
    part = tokens[start : start + rng.randint(1, 8)]
    return tokens[:start] + part * rng.choice((2, 2, 3, 50)) + tokens[start:]


def _swap(rng: random.Random, tokens: list[str], _: Sequence[list[str]]) -> list[str]:
    out = list(tokens)
    a, b = _place(rng, out), _place(rng, out)
    if out:
        out[a], out[b] = out[b], out[a]
    return out


def _splice(rng: random.Random, tokens: list[str], others: Sequence[list[str]]) -> list[str]:
    other = rng.choice(others)
    start, end = sorted((_place(rng, other), _place(rng, other)))
    at = _place(rng, tokens)
    return [*tokens[:at], " ", *other[start : end + 1], " ", *tokens[at + rng.randint(0, 3) :]]


def _nest(rng: random.Random, tokens: list[str], _: Sequence[list[str]]) -> list[str]:
    depth = rng.choice((1, 2, 5, 20, 60, 400))
    start, end = sorted((_place(rng, tokens), _place(rng, tokens)))
    opening = rng.choice(("(", "NOT (", "ABS(", "-(", "(SELECT ", "CASE WHEN 1=1 THEN "))
    return [*tokens[:start], opening * depth, *tokens[start:end], ")" * depth, *tokens[end:]]


def _wrap(rng: random.Random, tokens: list[str], _: Sequence[list[str]]) -> list[str]:
    text = "".join(tokens)
    form = rng.choice(
        (
            "SELECT * FROM ({}) AS z",
            "{} UNION {}",
            "WITH z AS ({}) SELECT * FROM z",
            "SELECT TOP 3 * FROM ivoa.ObsCore WHERE obs_id IN ({})",
            "({})",
            "SELECT COUNT(*) FROM ({}) AS z GROUP BY 1",
        )
    )
    return tokens_of(form.replace("{}", text))


def _list(rng: random.Random, tokens: list[str], _: Sequence[list[str]]) -> list[str]:
    count = rng.choice((3, 30, 300, 3000, 20_000))
    joiner, item = rng.choice(((",", "1"), (",", "s_ra"), (" AND ", "s_ra>1"), (" OR ", "1=1"),
                               ("+", "s_ra"), ("||", "'a'"), (",", "(1)")))  # fmt: skip
    at = _place(rng, tokens)
    return [*tokens[:at], " ", joiner.join([item] * count), " ", *tokens[at:]]


def _character(rng: random.Random, tokens: list[str], _: Sequence[list[str]]) -> list[str]:
    text = "".join(tokens)
    at = rng.randrange(len(text) + 1)
    cut = at + rng.randint(0, 2)
    return tokens_of(text[:at] + rng.choice((*_CHARACTERS, "")) + text[cut:])


def _name(rng: random.Random, tokens: list[str], _: Sequence[list[str]]) -> list[str]:
    places = [n for n, token in enumerate(tokens) if re.match(r"[A-Za-z_]", token)]
    if not places:
        return tokens
    out = list(tokens)
    out[rng.choice(places)] = rng.choice((*_COLUMNS, *_TABLES, *_HIDDEN, *_HIDDEN))
    return out


def _number(rng: random.Random, tokens: list[str], _: Sequence[list[str]]) -> list[str]:
    out = list(tokens)
    for place, token in enumerate(out):
        if token[:1].isdigit() and rng.random() < 0.5:
            out[place] = rng.choice(
                ("0", "-1", "NULL", "1e308", "1e-320", "9223372036854775808", "0.1", "'x'", "91",
                 "-0.0", "0x7fffffffffffffff", "360", "181", "1e999")
            )  # fmt: skip
    return out


_MUTATIONS: Final[tuple[tuple[Mutation, int], ...]] = (
    (_drop, 5), (_double, 4), (_swap, 4), (_splice, 5), (_nest, 3), (_wrap, 3), (_list, 1),
    (_character, 6), (_name, 8), (_number, 4),
)  # fmt: skip


def mutated(seed: int, count: int) -> Iterator[str]:
    """``count`` query texts; the same seed gives the same ones."""
    rng = random.Random(seed)
    queries = corpus()
    choices = [mutation for mutation, weight in _MUTATIONS for _ in range(weight)]
    for _ in range(count):
        tokens = rng.choice(queries)
        for _ in range(rng.choice((0, 1, 1, 1, 1, 2, 3))):
            tokens = rng.choice(choices)(rng, tokens, queries)
        yield "".join(tokens)
