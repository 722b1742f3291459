"""In which words a database is asked, where SQLite and PostgreSQL differ."""

from typing import Any, Protocol

from sqlalchemy import ColumnElement, Select, Table

# Rows of one batch, which is committed.
BATCH_ROWS = 1000


class Dialect(Protocol):
    """The words of one database, and for how many rows it is asked at once.

    One that has places can also be asked not to read values past a length, and refuses the rows that hold one.
    """

    page_rows: int

    def text(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        """Return a column as the text that it is, or becomes."""

    def cut(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        """Return a column as such a text, cut where it is longer than any that is used."""

    def is_short(self, text: ColumnElement[Any], characters: int) -> ColumnElement[bool]:
        """Return whether a text has at most about so many characters."""

    def number(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        """Return a column of a sum or a duration as a number that is not Decimal."""

    def no_text(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        """Return a column of numbers, with an empty text for each text that stands in it."""

    def total(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        """Return the sum of a column of numbers below MOST."""

    def moment(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        """Return a time as something that compares with `instant`."""

    def instant(self, name: str) -> ColumnElement[Any]:
        """Return a parameter, Unix seconds, as something that compares with `moment`."""

    def key(self, calls: Table) -> tuple[ColumnElement[Any], ...]:
        """Return the columns by which the first reading goes on."""

    def place_of(self, table: Table) -> ColumnElement[int] | None:
        """Return the place of a row in the order in which they were written; None where nothing tells it."""

    def after(self, calls: Table) -> ColumnElement[bool]:
        """Return whether a row's key comes after the parameters `after_0` and so on."""

    def remaining(self, calls: Table) -> Select[Any]:
        """Ask about how many rows come after these parameters."""

    def changed(self) -> ColumnElement[bool]:
        """Return whether a row may have been written since the parameter `changes`."""
