"""What a receiver holds of a request, from its arrival to its answer."""

import asyncio
from dataclasses import dataclass, field


@dataclass(slots=True, eq=False)
class Body:
    """A request's body, decompressed. Its translation notes here what the client is to be told."""

    encoding: str
    data: bytes
    # Why nothing of it can be read.
    malformed: str = ""
    # Spans that could not be used, by reason.
    rejected: dict[str, int] = field(default_factory=dict)
    # Whether it is committed, resolved in the loop that waits for it.
    committed: "asyncio.Future[bool] | None" = None
