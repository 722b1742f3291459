"""Whether the ports that the parts need are free, and who has one that is not."""

import socket
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from exporters.stack.settings import Settings, StackError

_LISTEN = "0A"


def require(settings: Settings, wanted: Mapping[str, str]) -> None:
    """Raise StackError, a line for each port that is taken. `wanted` maps a name in PORTS to who needs it."""
    taken = [
        f"Port {number} is taken by {holder(number)}, and {title} needs it. "
        f"Stop that, or choose another: make up {name}={number % 50000 + 10000}"
        for name, title in wanted.items()
        if not is_free(number := settings.ports[name])
    ]
    if taken:
        raise StackError("\n".join(taken))


def is_free(port: int) -> bool:
    """Say whether a server could listen on 127.0.0.1:`port` now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: connections of a server that has just gone do not count, a listener does.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def holder(port: int) -> str:
    """Name the process that listens on `port`, as `name (pid 12)`; `another process` if it may not be seen."""
    inodes = _listening(port)
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if any(str(fd.readlink()) in inodes for fd in (entry / "fd").iterdir()):
                return f"{(entry / 'comm').read_text().strip()} (pid {entry.name})"
    return "another process"


def _listening(port: int) -> set[str]:
    """The sockets that listen on `port`, named as /proc/PID/fd names them (proc_pid_net(5))."""
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with suppress(OSError):
            for line in Path(table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                    found.add(f"socket:[{fields[9]}]")
    return found
