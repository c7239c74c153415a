"""PostgreSQL statements read into arrow batches by compiled code."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any, Final, cast

import numpy as np
import psycopg
import pyarrow as pa
from psycopg import pq
from psycopg.adapt import Transformer

from app.schema.fields import Field
from app.stores import postgres_native_rows as rows
from app.stores.column_room import DONE, NO_ROOM, ODD_VALUE, ColumnRoom
from app.stores.postgres_native import NativeLibpq

_CHUNK_ROWS: Final = 256
"""Rows that libpq hands over at a time."""

CANCEL_TIMEOUT_S: Final = 5.0

_PLACES: Final = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|::|:([A-Za-z_]\w*)")
"""What may hold a colon: texts, quoted names, casts; and the binds."""
_OIDS: Final = {bool: 16, float: 701, str: 25}

Bound = str | int | float | None


@lru_cache(maxsize=256)
def numbered(sql: str) -> tuple[str, tuple[str, ...]]:
    """The statement with ``$1 …`` for its named binds, and their names in that order."""
    names: dict[str, str] = {}

    def place(match: re.Match[str]) -> str:
        name = match[1]
        return match[0] if name is None else names.setdefault(name, f"${len(names) + 1}")

    return _PLACES.sub(place, sql), tuple(names)


class NativeResults:
    """A statement that runs on a connection, and its rows. To be closed: it takes what the server
    still sends. The statement goes out at the construction."""

    def __init__(
        self,
        native: NativeLibpq,
        connection: psycopg.Connection[tuple[object]],
        sql: str,
        binds: Mapping[str, Bound],
    ) -> None:
        self._native = native
        self._connection = connection
        pgconn = connection.pgconn
        self._result = self._result_row = 0
        self._has_ended = False
        # psycopg's interface does not name what its implementations have.
        self._address = int(cast(Any, pgconn).pgconn_ptr)
        text, names = numbered(sql)
        values = [binds[name] for name in names]
        pgconn.send_query_params(
            text.encode(),
            [None if value is None else _text(value) for value in values],
            param_types=[_oid(value) for value in values],
            result_format=pq.Format.BINARY,
        )
        pgconn.set_chunked_rows_mode(_CHUNK_ROWS)
        self._transformer = Transformer(connection)

    def batches(self, fields: Sequence[Field], sizes: Iterator[int]) -> Iterator[pa.RecordBatch]:
        """The rows, in batches of ``sizes``; one empty batch when there are none.

        Raises psycopg.Error as psycopg would.
        """
        room = ColumnRoom(fields)
        oids = np.zeros(len(fields), np.int64)
        is_first = True
        while not self._has_ended:
            room.make_room(next(sizes))
            room.column = 0
            self._fill(room, oids)
            if room.row or is_first:
                yield room.batch()
            is_first = False

    def _fill(self, room: ColumnRoom, oids: np.ndarray[Any, Any]) -> None:
        """Take rows until the room is full or the statement ends."""
        while True:
            status, self._result, self._result_row, room.row, room.column = rows.fetch_results(
                self._address,
                self._result,
                self._result_row,
                room.row,
                room.column,
                oids.ctypes.data,
                *room.limits(),
                *room.columns(),
            )
            if status == NO_ROOM:
                size = self._native.call["PQgetlength"](self._result, self._result_row, room.column)
                room.widen(size)
            elif status == ODD_VALUE:
                room.put(self._value(room.column, int(oids[room.column])))
            elif status == rows.FAILED:
                raise self._native.error(self._result)
            else:
                self._has_ended = status == DONE
                return

    def _value(self, column: int, oid: int) -> object:
        """A value of the current row as psycopg would give it; never NULL."""
        place = (self._result, self._result_row, column)
        size = self._native.call["PQgetlength"](*place)
        data = ctypes.string_at(self._native.call["PQgetvalue"](*place), size)
        return self._transformer.get_loader(oid, pq.Format.BINARY).load(data)

    def close(self) -> None:
        """End the statement; the server stops what it has not sent yet."""
        if self._result:
            self._native.call["PQclear"](self._result)
            self._result = 0
        if not self._has_ended and self._still_sends():
            with suppress(psycopg.Error):
                self._connection.cancel_safe(timeout=CANCEL_TIMEOUT_S)
            rows.drain(self._address)
        self._has_ended = True

    def _still_sends(self) -> bool:
        """Whether there is more than what has come already."""
        pgconn = self._connection.pgconn
        if pgconn.status != pq.ConnStatus.OK:
            return False
        with suppress(psycopg.Error):
            pgconn.consume_input()
            while not pgconn.is_busy():
                if pgconn.get_result() is None:
                    return False
        return pgconn.status == pq.ConnStatus.OK


def _text(value: str | int | float) -> bytes:
    if isinstance(value, bool):
        return b"t" if value else b"f"
    return (value if isinstance(value, str) else repr(value)).encode()


def _oid(value: Bound) -> int:
    if value is None:
        return 0
    if isinstance(value, int) and not isinstance(value, bool):
        return 23 if abs(value) < 2**31 else 20
    return _OIDS[type(value)]
