"""Writes the dashboards and the alerting files: `python -m grafana.build`, `--check` to compare only."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from exporters.catalogue.alerts import alerts
from exporters.catalogue.generated import ROOT, publish
from exporters.catalogue.signals import SIGNALS
from grafana.alerting.document import documents
from grafana.dashboards import DASHBOARDS
from grafana.panels.document import document

PROVISIONING = ROOT / "grafana" / "provisioning"
BOARDS, ALERTING = PROVISIONING / "dashboards" / "json", PROVISIONING / "alerting"


def files() -> dict[Path, str]:
    """Return every dashboard's file and those of alerting, each with its text."""
    boards = {
        BOARDS / f"{dashboard.uid}.json": json.dumps(document(dashboard), indent=2, sort_keys=True) + "\n"
        for dashboard in DASHBOARDS
    }
    return boards | {ALERTING / name: text for name, text in documents(alerts(SIGNALS.values())).items()}


def main(arguments: Sequence[str]) -> int:
    """Write or compare the files, and remove those that are no more; returns the exit code."""
    return publish(files(), arguments=arguments, folders=(BOARDS, ALERTING), program="grafana.build")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
