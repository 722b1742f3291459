"""The layout of every dashboard: no gap, no overlap, cards that never move, panel ids that never change."""

import json
from collections import Counter
from typing import Any

import pytest

from exporters.catalogue.signals import SIGNALS
from grafana.build import BOARDS
from grafana.dashboard import Dashboard, Row
from grafana.panels.document import document

Json = dict[str, Any]

COMMITTED: dict[str, Json] = {path.stem: json.loads(path.read_text()) for path in sorted(BOARDS.glob("*.json"))}
CARDS = {signal.title for signal in SIGNALS.values() if signal.view == "stat"}

# CRC-32 of the name, as gzip writes it (`printf %s runs | gzip -c | tail -c8 | od -An -tu4 -N4`), less 2147483647
# where it is not below that, plus one. Links into Grafana name panels by these.
IDS = {
    ("agents-overview", "Runs"): 3832609,  # runs: 2151316255
    ("agents-overview", "Good run duration"): 1868170201,  # run_latency: 1868170200
    ("agents-agents", "Agents in the time range"): 720070421,  # agents_table: 720070420
    ("agents-agents", "Where"): 93908263,  # row Where: 93908262
}


def faults(page: Json) -> list[str]:
    """Where panels overlap, and where a cell above the page's end is empty."""
    cells = Counter(
        (x, y)
        for one in page["panels"]
        for x in range(one["gridPos"]["x"], one["gridPos"]["x"] + one["gridPos"]["w"])
        for y in range(one["gridPos"]["y"], one["gridPos"]["y"] + one["gridPos"]["h"])
    )
    end = max(one["gridPos"]["y"] + one["gridPos"]["h"] for one in page["panels"])
    grid = [(x, y) for y in range(end) for x in range(24)]
    return (
        [f"overlap at {cell}" for cell in grid if cells[cell] > 1]
        + [f"gap at {cell}" for cell in grid if not cells[cell]]
        + [f"beyond the edge at {cell}" for cell in cells if cell[0] >= 24]
    )


def of_page(*places: tuple[int, int, int, int]) -> Json:
    return {"panels": [{"gridPos": {"x": x, "y": y, "w": w, "h": h}} for x, y, w, h in places]}


@pytest.mark.parametrize("board", COMMITTED)
def test_panels_fill_the_page_without_gap_or_overlap(board):
    assert faults(COMMITTED[board]) == []


@pytest.mark.parametrize(
    ("page", "fault"),
    [
        (of_page((0, 0, 12, 1), (11, 0, 13, 1)), ["overlap at (11, 0)"]),
        (of_page((0, 0, 12, 1), (13, 0, 11, 1)), ["gap at (12, 0)"]),
        (of_page((0, 0, 24, 1), (12, 1, 13, 1), (0, 1, 12, 1)), ["beyond the edge at (24, 1)"]),
    ],
)
def test_a_gap_and_an_overlap_are_seen(page, fault):
    assert faults(page) == fault


@pytest.mark.parametrize("board", COMMITTED)
def test_panels_have_few_sizes(board):
    for one in COMMITTED[board]["panels"]:
        size = (one["gridPos"]["w"], one["gridPos"]["h"])
        allowed = {
            "row": {(24, 1)},
            "stat": {(3, 4), (8, 4)},
            "table": {(24, 6), (24, 8), (12, 8)},
            "state-timeline": {(24, 4), (8, 4), (12, 8)},
        }.get(one["type"], {(24, 8), (12, 8), (8, 8)})
        assert size in allowed, one["title"]


@pytest.mark.parametrize("board", COMMITTED)
def test_a_dashboard_is_short_enough_to_read(board):
    panels = COMMITTED[board]["panels"]
    titles = [one["title"] for one in panels if one["type"] == "row"]
    assert len(panels) - len(titles) <= 25
    assert 1 + len(titles) <= 9
    assert [title.capitalize() for title in titles] == titles
    # Others are not of who but of when, or matrices of colours.
    tables = [one for one in panels if one["type"] == "table" and one["gridPos"]["h"] == 8]
    assert sum(one["transformations"][0]["id"] == "merge" for one in tables) <= 2


@pytest.mark.parametrize("board", COMMITTED)
def test_cards_stand_in_the_first_line_and_nowhere_else(board):
    for one in COMMITTED[board]["panels"]:
        assert (one["gridPos"]["y"] == 0) == (one["type"] == "stat"), one["title"]


def test_a_card_keeps_its_place_on_every_dashboard():
    places: dict[str, set[tuple[int, int]]] = {}
    for page in COMMITTED.values():
        for one in page["panels"]:
            if one["type"] == "stat":
                places.setdefault(one["title"], set()).add((one["gridPos"]["x"], one["gridPos"]["w"]))
    assert set(places) == CARDS
    assert {title: found for title, found in places.items() if len(found) > 1} == {}


def test_the_first_line_of_every_board_about_agents_is_in_one_order():
    cards = [one for one in COMMITTED["agents-agents"]["panels"] if one["type"] == "stat"]
    assert [(one["title"], one["gridPos"]["x"]) for one in cards] == [
        ("Runs", 0),
        ("Failed runs", 3),
        ("Good run p95", 6),
        ("Tokens", 9),
        ("Spend", 12),
        ("Input from cache", 15),
        ("Unpriced calls", 18),
        ("Source lag", 21),
    ]


@pytest.mark.parametrize("board", COMMITTED)
def test_panel_ids_are_unique_and_fit_grafana(board):
    ids = [one["id"] for one in COMMITTED[board]["panels"]]
    assert len(set(ids)) == len(ids)
    assert all(0 < one < 2**31 for one in ids)


@pytest.mark.parametrize(("at", "number"), IDS.items())
def test_panel_ids_never_change(at, number):
    board, title = at
    assert [one["id"] for one in COMMITTED[board]["panels"] if one["title"] == title] == [number]


def test_a_signal_has_one_id_wherever_it_stands():
    ids: dict[str, set[int]] = {}
    for page in COMMITTED.values():
        for one in page["panels"]:
            ids.setdefault(one["title"], set()).add(one["id"])
    assert {title: found for title, found in ids.items() if len(found) > 1} == {}


@pytest.mark.parametrize(
    "entries",
    [(), ("runs",) * 5, ("run_latency",) * 4, ("runs", "run_latency", "spend", "tokens")],
    ids=["none", "five cards", "four lines", "cards among lines"],
)
def test_a_row_that_does_not_fill_the_page_is_refused(entries):
    with pytest.raises(ValueError, match="panels do not fill a row"):
        document(Dashboard(topic="X", question="Why?", rows=(Row(entries=entries),)))
