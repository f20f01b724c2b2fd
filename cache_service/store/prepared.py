"""Statements that run with every request, made once.

SQLAlchemy takes 50 to 100 µs to bind, execute and wrap what SQLite does in 5 to 15. So SQLite's driver is given the text that SQLAlchemy
compiled, and its own rows come back; PostgreSQL's connection is given the statement. Booleans come back as SQLite has them: 0 and 1. A
list in `IN` can't be prepared.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from cache_service.store.rows import Row
from cache_service.store.sqlite import AnsweringAtOnce

Values = Mapping[str, Any]
INSERTS: Final[Mapping[str, Any]] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}
"""How both say `ON CONFLICT`."""


@dataclass(frozen=True, slots=True)
class _Text:
    """A statement as the driver takes it. names: of its parameters in order; fixed: values of those that it came with."""

    sql: str
    names: tuple[str, ...]
    fixed: Values

    def parameters(self, values: Values) -> list[Any]:
        return [values[name] if name in values else self.fixed[name] for name in self.names]


class Prepared:
    """One statement, or one for each database. Values by name; those of an insert all have the same names."""

    def __init__(self, *, sqlite: sa.Executable, postgresql: sa.Executable) -> None:
        self._sqlite: Any = sqlite
        self._postgresql = postgresql
        self._texts: dict[tuple[str, ...], _Text] = {}
        self._row: Any = None

    @classmethod
    def same(cls, statement: sa.Executable) -> Prepared:
        """For both databases."""
        return cls(sqlite=statement, postgresql=statement)

    async def run(self, connection: AsyncConnection, rows: Sequence[Values]) -> None:
        """Once for each of the rows."""
        if not rows:
            return
        if isinstance(connection, AnsweringAtOnce):
            text = self._text(rows[0])
            connection.driver.executemany(text.sql, map(text.parameters, rows)).close()
        else:
            await connection.execute(self._postgresql, rows)

    async def all(self, connection: AsyncConnection, *several: Values) -> Sequence[Row]:
        """Once for each of the values; the rows that come back."""
        if not isinstance(connection, AnsweringAtOnce):
            return (
                await connection.execute(self._postgresql, several[0] if len(several) == 1 else list(several))
            ).all()
        text, found = self._text(several[0]), []
        for values in several:
            cursor = connection.driver.execute(text.sql, text.parameters(values))
            found += cursor.fetchall()
            if self._row is None:
                columns = [column[0] for column in cursor.description]
                self._row = namedtuple("_Row", columns)  # type: ignore[misc]  # mypy knows no class with columns of run time
        return [self._row._make(row) for row in found]

    def _text(self, values: Values) -> _Text:
        names = tuple(values)
        text = self._texts.get(names)
        if text is None:
            compiled = self._sqlite.compile(dialect=sqlite.dialect(), column_keys=list(names))
            text = _Text(str(compiled), tuple(compiled.positiontup), dict(compiled.params))
            self._texts[names] = text
        return text
