"""Imports point one way: sources read spans, all read the catalogue, and boards, rules and portal read nothing else."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("exporters", "grafana", "prometheus", "streamlit_portal", "traces")

# The first room that a module is in says what else of the project it may import; its own room it may always.
MAY_IMPORT = {
    "exporters.span": (),
    "exporters.hosts": (),
    "exporters.connections": (),
    "exporters.headers": (),
    # Messages say which version tells.
    "exporters.catalogue": ("exporters.span", "exporters.__version__"),
    "exporters.sources": ("exporters.span", "exporters.hosts", "exporters.connections"),
    "exporters": ("exporters", "traces"),
    "traces": ("exporters.span", "exporters.catalogue"),
    "grafana": ("exporters.catalogue",),
    "prometheus": ("exporters.catalogue",),
    "streamlit_portal": ("exporters.catalogue", "exporters.hosts", "exporters.headers"),
}
# What only extras install, and the rooms that it is installed for.
ROOMS_OF = {
    "sqlalchemy": ("exporters.sources.llm_metrics",),
    "psycopg": ("exporters.sources.llm_metrics",),
    "grafanalib": ("grafana.panels",),
    "httpx": ("exporters.sources.langfuse", "exporters.stack"),
    "bcrypt": ("exporters.stack",),
    "supervisor": ("exporters.stack",),
    "streamlit": ("streamlit_portal",),
    "altair": ("streamlit_portal",),
    "requests": ("streamlit_portal",),
}


def modules() -> dict[str, Path]:
    """Every module of the packages by its dotted name, those to come included."""
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def is_in(module: str, room: str) -> bool:
    return module == room or module.startswith(f"{room}.")


def imported(source: str) -> set[str]:
    """Every absolute module name that the source imports, anywhere in it; `from a import b` may be a module a.b."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute, so that this test can read them"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def strays(module: str, source: str) -> list[str]:
    """The imports of a module that point the wrong way."""
    room = next(room for room in MAY_IMPORT if is_in(module, room))
    allowed = (room, *MAY_IMPORT[room])
    wrong = []
    for name in sorted(imported(source)):
        ours = name.split(".")[0] in PACKAGES
        if ours and not any(is_in(name, other) for other in allowed):
            wrong.append(name)
        if room == "exporters.catalogue" and not ours and name.split(".")[0] not in sys.stdlib_module_names:
            wrong.append(name)
        rooms = ROOMS_OF.get(name.split(".")[0])
        if rooms and not any(is_in(module, one) for one in rooms):
            wrong.append(name)
    return wrong


def test_every_room_of_today_is_looked_at():
    found = set(modules())
    assert {
        "exporters.span",
        "exporters.catalogue.signals",
        "exporters.sources",
        "grafana",
        "prometheus.build",
    } <= found


@pytest.mark.parametrize("module", modules())
def test_imports_point_one_way(module):
    assert strays(module, modules()[module].read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("module", "source", "wrong"),
    [
        ("exporters.sources.jsonl", "from exporters.state import State", ["exporters.state.State"]),
        (
            "exporters.sources.jsonl",
            "from exporters.catalogue.model import Metric",
            ["exporters.catalogue.model.Metric"],
        ),
        ("exporters.sources.jsonl", "from exporters.span import Span\nfrom exporters.sources import tail", []),
        ("exporters.catalogue.model", "import msgspec\nimport re", ["msgspec"]),
        ("exporters.catalogue.model", "from exporters.span import Span", []),
        ("exporters.span", "def late():\n    import exporters.catalogue.model", ["exporters.catalogue.model"]),
        ("exporters.runner", "import exporters.sources\nfrom traces.index import Index", []),
        ("exporters.runner", "from prometheus import build", ["prometheus.build"]),
        ("exporters.runner", "import streamlit", ["streamlit"]),
        ("grafana.build", "from exporters import span", ["exporters.span"]),
        ("grafana.build", "from grafanalib.core import Graph", ["grafanalib.core.Graph"]),
        ("grafana.panels", "from grafanalib.core import Graph", []),
        ("prometheus.build", "from grafana.dashboards import cost", ["grafana.dashboards.cost"]),
        ("streamlit_portal.tabs.cost", "import traces.index", ["traces.index"]),
        ("streamlit_portal.tabs.cost", "import streamlit\nfrom exporters.catalogue.signals import SIGNALS", []),
        ("traces.index", "from exporters.aggregate import Cells", ["exporters.aggregate.Cells"]),
    ],
)
def test_an_import_the_wrong_way_is_seen(module, source, wrong):
    assert strays(module, source) == wrong
