"""Databases of llm_metrics to read: both layouts, on SQLite and on a PostgreSQL that is started for the tests."""

import os
import re
import shutil
import socket
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Literal, Protocol

import psycopg

from exporters.stack.debian import program

FOLDER = Path(__file__).parent / "fixtures" / "llm_metrics"
Layout = Literal["a", "b"]
POSTGRES = program("postgres")
CALL = {
    "a": {"model": "openai/gpt-4o", "created_at": "2026-03-01 10:00:00.000000"},
    "b": {"model": "openai/gpt-4o", "created_at": "2026-03-01T10:00:00", "level": "DEFAULT"},
}


def schema(layout: Layout) -> list[str]:
    """The statements that make the tables of a layout, as SQLite understands them."""
    return [text for text in statements(layout) if text.startswith("CREATE")]


def statements(layout: Layout) -> list[str]:
    """The statements of a fixture."""
    text = re.sub(r"^--.*$", "", (FOLDER / layout / "store.sql").read_text(), flags=re.MULTILINE)
    return [statement.strip() for statement in re.split(r";\n", text) if statement.strip()]


def for_postgresql(statement: str) -> str:
    """The statement with PostgreSQL's types for what Python's sqlite3 and SQLAlchemy keep in SQLite,
    and without the foreign key, which SQLite does not heed."""
    if not statement.startswith("CREATE TABLE"):
        return statement
    statement = re.sub(r",\s+FOREIGN KEY[^\n]*", "", statement)
    return statement.replace("DATETIME", "TIMESTAMP").replace(" REAL", " DOUBLE PRECISION")


class Store(Protocol):
    """A database that somebody writes while we read it."""

    layout: Layout

    @property
    def url(self) -> str: ...
    def run(self, statement: str, *values: Any) -> None: ...
    def put(self, table: str, row: dict[str, Any], *, again: bool = False) -> None: ...
    def close(self) -> None: ...


class OnSqlite:
    """A store in a file."""

    def __init__(self, path: Path, layout: Layout, *, rows: bool = False) -> None:
        self.layout = layout
        self.path = path
        self._db = sqlite3.connect(path, isolation_level=None, timeout=20, check_same_thread=False)
        # As the two writers have it.
        self._db.execute(f"PRAGMA journal_mode = {'WAL' if layout == 'b' else 'DELETE'}")
        for statement in statements(layout) if rows else schema(layout):
            self._db.execute(statement)

    @property
    def url(self) -> str:
        return f"llm-metrics://{self.path}"

    def run(self, statement: str, *values: Any) -> None:
        self._db.execute(statement, values)

    def put(self, table: str, row: dict[str, Any], *, again: bool = False) -> None:
        """Insert a row; `again` replaces one that is there, as the export of layout B does."""
        verb = "INSERT OR REPLACE" if again else "INSERT"
        places = ", ".join("?" * len(row))
        self.run(f"{verb} INTO {table} ({', '.join(row)}) VALUES ({places})", *row.values())

    def close(self) -> None:
        self._db.close()


class OnPostgresql:
    """A store in a database of its own on a server."""

    def __init__(self, server: "Server", name: str, layout: Layout, *, rows: bool = False) -> None:
        self.layout = layout
        self.url = f"llm-metrics+postgresql://postgres@127.0.0.1:{server.port}/{name}"
        self._server = server
        self._name = name
        with closing(server.connect("postgres")) as db:
            db.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
            db.execute(f'CREATE DATABASE "{name}"')
        self._db = server.connect(name)
        for statement in statements(layout) if rows else schema(layout):
            self._db.execute(for_postgresql(statement))

    def run(self, statement: str, *values: Any) -> None:
        """Run a statement; after a restart of the server on a new connection."""
        try:
            self._db.execute(statement.replace("?", "%s"), values)
        except psycopg.OperationalError:
            self._db.close()
            self._db = self._server.connect(self._name)
            self._db.execute(statement.replace("?", "%s"), values)

    def put(self, table: str, row: dict[str, Any], *, again: bool = False) -> None:
        update = ", ".join(f"{name} = excluded.{name}" for name in row)
        conflict = f" ON CONFLICT (id) DO UPDATE SET {update}" if again else ""
        places = ", ".join("?" * len(row))
        self.run(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({places}){conflict}", *row.values())

    def close(self) -> None:
        self._db.close()


def put_call(store: Store, id_: str, trace: str = "t", *, again: bool = False, **fields: Any) -> None:
    """Put a row into `generations`, of a trace that may be missing; what is not given is as the layout has it."""
    store.put("generations", {"id": id_, "trace_id": trace, **CALL[store.layout], **fields}, again=again)


def put_trace(store: Store, id_: str = "t", *, again: bool = False, **fields: Any) -> None:
    """Put a row into `traces`."""
    row = {"id": id_, "created_at": CALL[store.layout]["created_at"], **fields}
    store.put("traces", row, again=again)


class Server:
    """A PostgreSQL of the tests' own, whose user needs no password from this machine."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self._control("initdb", "-A", "trust", "-U", "postgres", "-E", "UTF8", "--no-sync", "-D", self._data)

    @property
    def _data(self) -> str:
        return str(self.directory / "data")

    def start(self) -> None:
        settings = f"-p {self.port} -k {self.directory} -c listen_addresses=127.0.0.1 -c fsync=off"
        log = str(self.directory / "log")
        self._control("pg_ctl", "-D", self._data, "-o", settings, "-l", log, "-w", "start")

    def stop(self) -> None:
        self._control("pg_ctl", "-D", self._data, "-m", "immediate", "-w", "stop")

    def connect(self, database: str) -> "psycopg.Connection[tuple[Any, ...]]":
        return psycopg.connect(
            host="127.0.0.1", port=self.port, user="postgres", dbname=database, autocommit=True, connect_timeout=20
        )

    def _control(self, name: str, *arguments: str) -> None:
        """Run a program of PostgreSQL, which refuses to be run by root."""
        assert POSTGRES is not None
        as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        command = [*as_user, str(Path(POSTGRES).with_name(name)), *arguments]
        subprocess.run(command, check=True, capture_output=True, timeout=60, cwd="/")


@contextmanager
def postgresql() -> Iterator[Server]:
    """Run a server while the block runs."""
    # Not below pytest's folder, which only its owner may enter; and a socket's path has to be short.
    directory = Path(tempfile.mkdtemp(prefix="agentgauge-pg-"))
    try:
        if os.geteuid() == 0:
            shutil.chown(directory, "postgres", "postgres")
        server = Server(directory)
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(directory, ignore_errors=True)
