"""`python -m streamlit_portal`: the portal as a process of this machine or of a container."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from streamlit.web import cli

from streamlit_portal import settings


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve the portal until it is stopped. Returns 2, after one line, when a setting is wrong.

    Streamlit's own settings stand in `.streamlit/config.toml` beside app.py, where it finds them
    from any working directory.
    """
    parser = argparse.ArgumentParser(prog="python -m streamlit_portal", description=__doc__)
    parser.add_argument("--port", type=int, default=8501, help="the port to listen on (default 8501)")
    parser.add_argument("--address", default="127.0.0.1", help="the address to listen on (default 127.0.0.1)")
    parser.add_argument("--base-path", default="", help="the path that a proxy serves the portal under")
    chosen = parser.parse_args(arguments)
    try:
        settings.from_environment()
    except ValueError as error:
        print(f"streamlit_portal: {error}", file=sys.stderr)
        return 2
    app = Path(__file__).with_name("app.py")
    flags = [f"--server.port={chosen.port}", f"--server.address={chosen.address}"]
    if chosen.base_path:
        flags.append(f"--server.baseUrlPath={chosen.base_path}")
    cli.main(["run", str(app), *flags], standalone_mode=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
