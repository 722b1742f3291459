"""Writes the dashboards' JSON: `python -m grafana.build`, `--check` to compare only."""

import json
import sys
from pathlib import Path

from exporters.catalogue.generated import ROOT, publish
from grafana.dashboards import DASHBOARDS

FOLDER = ROOT / "grafana" / "provisioning" / "dashboards" / "json"


def files() -> dict[Path, str]:
    """Return every dashboard's file with its text."""
    return {
        FOLDER / f"{dashboard.uid}.json": json.dumps(dashboard.to_json(), indent=2, sort_keys=True) + "\n"
        for dashboard in DASHBOARDS
    }


if __name__ == "__main__":
    sys.exit(publish(files(), arguments=sys.argv[1:], folder=FOLDER, program="grafana.build"))
