"""Files that people write, in YAML: read strictly, refused in one line, and read again when they change."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec

from exporters.sources import SourceError

if TYPE_CHECKING:
    from yaml import Node

T = TypeVar("T")
_Stamp = tuple[int, int, int, int]

log = logging.getLogger("agentgauge")


class Declaration(Generic[T]):
    """What a file says, as it was when it could last be used.

    `value` is what `read` made of it. `problem` is why the file as it is now cannot be used, empty while it
    can; until it is mended, what it said before holds.
    """

    def __init__(self, path: Path, read: Callable[[Path], T]) -> None:
        """Read the file. Raises SourceError with one line that says how to mend it."""
        self.problem = ""
        self._path = path
        self._read = read
        self._stamp = _stamp(path)
        self.value = read(path)

    def refresh(self) -> None:
        """Read the file again if it is another than at the last look, which costs one look at its date."""
        stamp = _stamp(self._path)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            if stamp is not None and stamp[-1] == 0:
                raise SourceError(f"{self._path}: replaced outside of this container; restart the exporter to read it")
            self.value = self._read(self._path)
        except SourceError as error:
            self.problem = str(error)
            log.error("%s; what it said before holds until it is mended", error)
        else:
            self.problem = ""
            log.info("%s: read again", self._path)


def _stamp(path: Path) -> _Stamp | None:
    """Tell one version of a file from the next, also where it was replaced; None when there is none.

    The last is how many names the file has. None is left where it is mounted into a container by itself, which goes
    on seeing it, and somebody has put another in its place, as most editors do.
    """
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino, found.st_nlink


def read_entries(path: Path, *, under: str, help_page: str) -> list[Any]:
    """Return the list that a file holds under its only name, as plain objects.

    Raises SourceError with one line that names the file and where it stands; `help_page` tells the form.
    """
    # Imported late: only who has such a file needs it.
    import yaml  # noqa: PLC0415 -- see above

    try:
        text = path.read_text(encoding="utf-8")
        _refuse_repeated(path, yaml.compose(text, Loader=yaml.SafeLoader))
        found = yaml.safe_load(text)
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror}; name a file of {under} that this user may read") from None
    except UnicodeDecodeError:
        raise SourceError(f"{path}: not UTF-8; save it as such") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark is not None else ""
        raise SourceError(f"{path}: {where}not YAML: {getattr(error, 'problem', None) or 'cannot be read'}") from None
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{path}: not YAML: {str(error) or 'too deep'}") from None
    if not isinstance(found, dict) or list(found) != [under] or not isinstance(found[under], list):
        raise SourceError(f"{path}: should be '{under}:' and under it a list of entries; see {help_page}")
    entries: list[Any] = found[under]
    return entries


def convert(found: Any, kind: type[T], named: str) -> T:
    """Return an entry as a struct of `kind`. Raises SourceError that begins with `named` and names the field."""
    try:
        return msgspec.convert(found, kind)
    except msgspec.ValidationError as error:
        said, _, where = str(error).partition(" - at `$.")
        said = said[0].lower() + said[1:]
        raise SourceError(f"{named}: {where.strip('`') + ': ' if where else ''}{said}") from None


def _refuse_repeated(path: Path, node: "Node | None") -> None:
    """YAML takes the last of two fields with one name without a word; here that is money, or somebody's sleep."""
    for inner in node.value if node is not None and not isinstance(node.value, str) else ():
        if not isinstance(inner, tuple):
            _refuse_repeated(path, inner)
    pairs = [inner for inner in node.value if isinstance(inner, tuple)] if node is not None else []
    seen: set[str] = set()
    for name, value in pairs:
        if str(name.value) in seen:
            raise SourceError(f"{path}: line {name.start_mark.line + 1}: '{name.value}' is there twice")
        seen.add(str(name.value))
        _refuse_repeated(path, value)
