"""The lock on a state directory: one exporter at a time, and on a disk of this machine."""

import fcntl
import logging
import os
import stat
from pathlib import Path
from typing import IO

LOCK = "lock"
# What the names of a state's files begin with.
_OURS = "state."
# Where a lock or a sync may be answered before it is true.
_NETWORK = {"nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs"}
_MOUNTS = Path("/proc/self/mounts")

log = logging.getLogger("agentgauge")


class StateError(Exception):
    """The state cannot be used, in one line that says why and how to mend it."""


class StateInUseError(StateError):
    """Another exporter holds the state."""


def lock(directory: Path) -> IO[str]:
    """Make the directory if need be and lock it for this process, until the file returned is closed.

    The lock goes with the process, also after SIGKILL. Raises StateInUseError, and StateError when
    the directory cannot be made or written, or is on a network file system.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        _keep_others_out(directory)
        network = file_system(directory) in _NETWORK
        held = (directory / LOCK).open("a")
    except OSError as error:
        raise StateError(
            f"{directory}: {error.strerror}; give the directory to the user that runs the exporter"
        ) from None
    if network:
        held.close()
        raise StateError(f"{directory}: is on a network file system, which loses commits; use a local disk")
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        held.close()
        raise StateInUseError(
            f"{directory}: another exporter uses this state; stop it, or give this one its own --state"
        ) from None
    except OSError as error:
        held.close()
        raise StateError(f"{directory}: cannot be locked: {error.strerror}; use a local disk") from None
    return held


def _keep_others_out(directory: Path) -> None:
    """Take the right to write from everybody but the owner of a directory that holds nothing but a state.

    Raises StateError where that is not ours to do, and OSError.
    """
    mode = directory.stat().st_mode
    if not mode & 0o022:
        return
    others = [path for path in directory.iterdir() if path.name != LOCK and not path.name.startswith(_OURS)]
    # A folder for everybody, as /tmp is, is nobody's own, however empty it is.
    if directory.stat().st_uid == os.geteuid() and not mode & stat.S_ISVTX and not others:
        directory.chmod(stat.S_IMODE(mode) & ~0o022)
        log.warning("state: %s could be written by others; now only its owner may", directory)
    elif mode & 0o002:
        raise StateError(f"{directory}: everybody may write into it; name a folder of the state's own, or chmod o-w it")


def file_system(directory: Path) -> str:
    """Return the type of the file system that a directory is on, as Linux names it; else ''."""
    try:
        mounts = _MOUNTS.read_bytes()
    except OSError:
        return ""
    place = directory.resolve()
    best = (Path(), "")
    for line in mounts.splitlines():
        _, point, kind, *_ = line.split(b" ")
        # Blanks and the like are written as octal numbers there, see proc(5).
        path = Path(point.decode("unicode_escape").encode("latin-1").decode("utf-8", "surrogateescape"))
        if place.is_relative_to(path) and len(path.parts) >= len(best[0].parts):
            best = (path, kind.decode("ascii", "replace"))
    return best[1]
