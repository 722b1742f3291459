"""The folder that a URL names."""

import logging
import os
from pathlib import Path
from urllib.parse import SplitResult, unquote

from exporters.sources import Options, SourceError

log = logging.getLogger("agentgauge")


def folder_of(url: SplitResult, options: Options | None = None) -> Path:
    """Return the folder of `scheme:///path`, percent-encoding and a leading `~` resolved.

    Raises SourceError when it is not a folder that can be listed. One that is followed and may not be read yet is
    told here, and by the reading from then on: whoever mends it need not know who reads it.
    """
    path = unquote(url.netloc + url.path)
    if not path:
        raise SourceError(
            f"{url.geturl()}: names no folder; write it after the slashes, as in createagents:///var/traces"
        )
    try:
        folder = Path(path[1:] if path.startswith("/~") else path).expanduser()
        os.scandir(folder).close()
    except (RuntimeError, ValueError) as error:  # no such user, a NUL
        raise SourceError(f"{url.geturl()}: {error}; check the path") from None
    except NotADirectoryError:
        raise SourceError(f"{url.geturl()}: {folder} is not a folder; name the folder that holds the files") from None
    except FileNotFoundError:
        raise SourceError(f"{url.geturl()}: there is no folder {folder}; check the path, or create it") from None
    except PermissionError:
        why = f"{url.geturl()}: {folder} may not be read; grant this user read permission"
        if options is None or not options.follows:
            raise SourceError(why) from None
        log.warning("source=%s cannot be read yet: %s", options.name, why)
    return folder
