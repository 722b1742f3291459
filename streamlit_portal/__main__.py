"""`python -m streamlit_portal`: the portal as a process of this machine or of a container."""

import argparse
import sys
from collections.abc import Sequence

from streamlit_portal import serving, settings


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve the portal until it is stopped. Returns 2, after one line, when a setting is wrong."""
    parser = argparse.ArgumentParser(prog="python -m streamlit_portal", description=__doc__)
    parser.add_argument("--port", type=int, default=8501, help="the port to listen on (default 8501)")
    parser.add_argument("--address", default="127.0.0.1", help="the address to listen on (default 127.0.0.1)")
    parser.add_argument("--base-path", default="", help="the path that a proxy serves the portal under")
    chosen = parser.parse_args(arguments)
    try:
        portal = settings.from_environment()
    except ValueError as error:
        print(f"streamlit_portal: {error}", file=sys.stderr)
        return 2
    serving.serve(portal, address=chosen.address, port=chosen.port, base_path=chosen.base_path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
