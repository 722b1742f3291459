"""Files that are kept open: one that is deleted before it was read to its end can still be read."""

import os
from collections import OrderedDict
from collections.abc import Container

# Of the files that grew lately.
_KEPT_OPEN = 64


class Descriptors:
    """Open files by name, and those that were read to their end after they had gone from their name."""

    def __init__(self) -> None:
        self.open: OrderedDict[str, int] = OrderedDict()
        # Open until their reading is committed.
        self._drained: list[tuple[str, int]] = []

    def restore(self) -> None:
        """Take back what was drained, to be read again from what is committed."""
        for name, descriptor in self._drained:
            newer = self.open.pop(name, None)
            if newer is not None:
                os.close(newer)
            self.open[name] = descriptor
        self._drained.clear()

    def committed(self) -> None:
        """Close what was drained: nobody goes back to it."""
        while self._drained:
            os.close(self._drained.pop()[1])

    def drain(self, name: str) -> None:
        """Put aside a file that was read to its end and is gone from its name."""
        self._drained.append((name, self.open.pop(name)))

    def keep(self, name: str, descriptor: int, due: Container[str]) -> None:
        """Keep a file open, instead of another that is not due if there are too many."""
        self.open[name] = descriptor
        if len(self.open) > _KEPT_OPEN:
            idle = (other for other in self.open if other not in due)
            self.drop(next(idle, next(iter(self.open))))

    def drop(self, name: str) -> None:
        """Close a file."""
        os.close(self.open.pop(name))

    def close(self) -> None:
        """Close every file."""
        for descriptor in (*self.open.values(), *(descriptor for _, descriptor in self._drained)):
            os.close(descriptor)
        self.open.clear()
        self._drained.clear()
