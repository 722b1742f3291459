"""Reading a served Langfuse project in this process: the reader driven poll by poll, and its rows as spans."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from langfuse_server import PUBLIC, SECRET, Langfuse, served

from exporters.sources.langfuse.client import Client
from exporters.sources.langfuse.keys import Keys
from exporters.sources.langfuse.reader import Project, Settings
from exporters.sources.langfuse.rows import translate
from exporters.span import Span


@dataclass
class Brought:
    """What some polls brought, all together."""

    spans: list[Span] = field(default_factory=list)
    cursor: dict[str, bytes] = field(default_factory=dict)
    late: int = 0
    retries: int = 0
    bad: dict[str, int] = field(default_factory=dict)
    backlogs: list[int] = field(default_factory=list)

    @property
    def ids(self) -> list[str]:
        return [span.span_id for span in self.spans]


class Reading:
    """A reader, and the cursor that is committed."""

    def __init__(self, project: Langfuse, url: str, settings: Settings) -> None:
        self.project = project
        self.client = Client(url, Keys(PUBLIC, SECRET), 5.0)
        self.reader = Project(self.client, settings)
        self.cursor: dict[str, bytes] = {}

    def on(self, polls: int = 1000) -> Brought:
        """Poll until there is no more, or so many times."""
        brought = Brought()
        self.client.skew = self.project.now() - time.time()  # as the last reply would have told
        for _ in range(polls):
            batch = self.reader.poll()
            assert not batch.problem, batch.problem
            made = translate(batch.records)
            brought.spans += made.spans
            for reason, count in [*batch.bad.items(), *made.bad.items()]:
                brought.bad[reason] = brought.bad.get(reason, 0) + count
            brought.late += batch.late
            brought.retries += batch.retries
            brought.backlogs.append(self.reader.backlog())
            for part, value in batch.cursor.items():
                if value:
                    self.cursor[part] = value
                else:
                    self.cursor.pop(part, None)
            if not batch.more:
                break
        return brought

    def killed(self) -> None:
        """Go on as a new process would, from what is committed."""
        settings = self.reader._settings
        self.reader.close()
        self.client = Client(self.client.origin, Keys(PUBLIC, SECRET), 5.0)
        self.reader = Project(self.client, settings)
        self.reader.seek(self.cursor)


@contextmanager
def reading(project: Langfuse, *, wait: float = 0.0, **settings: object) -> Iterator[Reading]:
    """Serve a project and read it; `settings` are those of the reader. A breach of the contract fails the test."""
    with served(project) as url:
        found = Reading(project, url, Settings(wait=wait, **settings))  # type: ignore[arg-type]
        try:
            found.reader.seek({})
            yield found
        finally:
            found.reader.close()
    assert project.breaches == []
