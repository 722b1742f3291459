"""Writes the dashboards' JSON: `python -m grafana.build`, `--check` to compare only."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from exporters.catalogue.generated import ROOT, publish
from grafana.dashboards import DASHBOARDS
from grafana.panels.document import document

FOLDER = ROOT / "grafana" / "provisioning" / "dashboards" / "json"


def files() -> dict[Path, str]:
    """Return every dashboard's file with its text."""
    return {
        FOLDER / f"{dashboard.uid}.json": json.dumps(document(dashboard), indent=2, sort_keys=True) + "\n"
        for dashboard in DASHBOARDS
    }


def main(arguments: Sequence[str]) -> int:
    """Write or compare the dashboards, and remove those that are no more; returns the exit code."""
    return publish(files(), arguments=arguments, folder=FOLDER, program="grafana.build")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
