"""What people read when alerts fire and end, filled by a real Alertmanager and compared line by line."""

import html
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import yaml
from slack_stage import Alertmanager, Slack, alertmanager, configured, slack

from exporters import __version__
from exporters.catalogue.messages import GREY
from streamlit_portal import firing

ROOT = "https://agents.example"
HOSTILE = '<!channel> & `x` *b* {{ .Labels }} "q"\n\t<https://evil.example|pay>' + "é" * 200


@pytest.fixture(scope="module")
def receiver() -> Iterator[Slack]:
    with slack() as found:
        yield found


@pytest.fixture(scope="module")
def sender(tmp_path_factory: pytest.TempPathFactory, receiver: Slack) -> Iterator[Alertmanager]:
    """An Alertmanager with our templates, which sends as soon as it is told."""
    home = tmp_path_factory.mktemp("alertmanager")
    path = configured(home, receiver, ROOT, group_wait="1s", group_interval="1s")
    configuration = yaml.safe_load(path.read_text())
    for to in configuration["receivers"]:
        for way in to.get("slack_configs", ()):
            # What a mail says, besides.
            way |= {"pretext": '{{ template "agentgauge.mail.text" . }}'}
            way |= {"fallback": '{{ template "agentgauge.mail.subject" . }}'}
    path.write_text(yaml.safe_dump(configuration))
    with alertmanager(path, home / "data") as found:
        yield found


def alert(name: str, agent: str, percent: float, rank: str = "highest", **more: Any) -> dict[str, Any]:
    """As Prometheus sends it: an agent whose runs fail, since now."""
    return {
        "labels": {"alertname": name, "severity": "critical", "gen_ai_agent_name": agent},
        "annotations": {
            "summary": "Too many runs of an agent fail.",
            "description": f"Failed runs by agent: {percent:g}%, limit 20%, over 15m.",
            "headline": f"{percent:g}% of runs fail",
            "who": f"agent {agent}",
            "value": f"{percent:g}%",
            "rank": f"{rank} {percent:020.6f}",
            "first": "Open the Errors dashboard for this agent.",
            "runbook_url": "docs/runbooks.md#run_error_ratio_by_agent",
            "dashboard_uid": "agents-errors",
            "panel_id": "1721450763",
        },
        "startsAt": datetime.now(UTC).isoformat(),
        **more,
    }


def attachment(receiver: Slack) -> dict[str, Any]:
    (found,) = receiver.message()["attachments"]
    return found


def since(told: dict[str, Any]) -> str:
    moment = datetime.fromisoformat(told["startsAt"])
    return f"{moment.day} {moment:%b %H:%M} UTC"


def test_one_alert_is_a_title_and_four_lines_in_slack_and_the_same_in_plain_text_by_mail(sender, receiver):
    told = alert("One", "support-bot", 33.3)
    sender.post([told])
    found = attachment(receiver)
    assert found["title"] == "🔴 FIRING critical · 33.3% of runs fail · agent support-bot"
    assert found["color"] == "danger"
    silence = (
        f"{sender.url}/#/silences/new?filter=%7Balertname%3D%22One%22%2C%20"
        "gen_ai_agent_name%3D%22support-bot%22%2C%20severity%3D%22critical%22%7D"
    )
    assert found["text"].splitlines() == [
        "Too many runs of an agent fail.",
        f"`agent support-bot` · Failed runs by agent: 33.3%, limit 20%, over 15m. Since {since(told)}.",
        "First: Open the Errors dashboard for this agent.",
        f"<{ROOT}/panel?id=1721450763&agent=support-bot|Panel> · "
        f"<{ROOT}/runbooks?alert=run_error_ratio_by_agent|Runbook> · <{silence}|Silence>",
    ]
    assert len(found["text"]) < 700
    assert f"🔴 {found['fallback']}" == found["title"]
    assert found["footer"] == f"Agentgauge v{__version__} · run_error_ratio_by_agent"
    assert found["pretext"].splitlines() == [
        "Too many runs of an agent fail.",
        f"agent support-bot · Failed runs by agent: 33.3%, limit 20%, over 15m. Since {since(told)}.",
        "First: Open the Errors dashboard for this agent.",
        f"Panel: {ROOT}/panel?id=1721450763&agent=support-bot",
        f"Runbook: {ROOT}/runbooks?alert=run_error_ratio_by_agent",
        f"Silence: {silence}",
    ]


def test_five_alerts_are_one_message_that_names_the_worst_first(sender, receiver):
    # Alertmanager tells them in the order of their labels; as text, 9.5 would be the largest.
    told = [alert("Five", f"bot-{at}", percent) for at, percent in enumerate((40, 9.5, 100, 25.25, 31))]
    sender.post(told)
    found = attachment(receiver)
    assert found["title"] == "🔴 FIRING critical · 100% of runs fail · agent bot-2 (+4)"
    lines = found["text"].splitlines()
    assert lines[:3] == [
        "Too many runs of an agent fail.",
        f"Worst of 5 · Failed runs by agent: 100%, limit 20%, over 15m. Since {since(told[2])}.",
        "First: Open the Errors dashboard for this agent.",
    ]
    assert lines[3].startswith(
        f"<{ROOT}/panel?id=1721450763&agent=bot-2|Panel> · <{ROOT}/runbooks?alert=run_error_ratio_by_agent|Runbook>"
    )
    # A silence of the group is for all of it.
    assert lines[3].endswith("filter=%7Balertname%3D%22Five%22%2C%20severity%3D%22critical%22%7D|Silence>")
    assert lines[4:] == [
        "`agent bot-2` · 100%",
        "`agent bot-0` · 40%",
        "`agent bot-4` · 31%",
        "`agent bot-3` · 25.25%",
        "`agent bot-1` · 9.5%",
    ]


def test_of_fifty_alerts_five_are_named_and_the_rest_is_a_link(sender, receiver):
    # 37 has no common factor with 101, so these are fifty different numbers; the largest are 100, 97, 96, 94, 93.
    sender.post([alert("Fifty", f"bot-{at}", at * 37 % 101) for at in range(50)])
    found = attachment(receiver)
    assert found["title"] == "🔴 FIRING critical · 100% of runs fail · agent bot-30 (+49)"
    lines = found["text"].splitlines()
    assert lines[1].startswith("Worst of 50 · Failed runs by agent: 100%, ")
    assert lines[4:] == [
        "`agent bot-30` · 100%",
        "`agent bot-19` · 97%",
        "`agent bot-49` · 96%",
        "`agent bot-8` · 94%",
        "`agent bot-38` · 93%",
        f"<{ROOT}/{firing.PATH}|and 45 more>",
    ]
    assert len(found["text"]) <= 2000


@pytest.mark.parametrize(
    ("name", "rank", "order"),
    [("Above", "highest", ["3%", "0%", "-5%", "-7%", "-12%"]), ("Below", "lowest", ["-12%", "-7%", "-5%", "0%", "3%"])],
)
def test_the_worst_is_the_highest_or_the_lowest_also_below_zero(sender, receiver, name, rank, order):
    sender.post([alert(name, f"bot-{at}", percent, rank) for at, percent in enumerate((-5, 3, -7, 0, -12))])
    lines = attachment(receiver)["text"].splitlines()
    assert [line.partition(" · ")[2] for line in lines[4:]] == order


def test_what_strangers_write_into_labels_is_text_and_short(sender, receiver):
    sender.post([told := alert("Hostile", HOSTILE, 50)])
    found = attachment(receiver)
    title = "🔴 FIRING critical · 50% of runs fail · agent &lt;!channel&gt; &amp; `x` *b* {{ .L…"
    assert found["title"] == title
    assert len(html.unescape(title)) == 72
    lines = found["text"].splitlines()
    assert len(lines) == 4
    # In backticks Slack reads no marks; none of the stranger's own is left to end them.
    name = "agent &lt;!channel&gt; &amp; 'x' *b* {{ .Labels }} \"q\" &lt;https://evil.…"
    assert lines[1] == f"`{name}` · Failed runs by agent: 50%, limit 20%, over 15m. Since {since(told)}."
    assert len(html.unescape(name)) == 60
    # Too long for an address: the board of all agents, and a silence of all of them.
    assert lines[3].startswith(f"<{ROOT}/panel?id=1721450763|Panel> · ")
    assert lines[3].endswith("filter=%7Balertname%3D%22Hostile%22%7D|Silence>")
    assert len(found["text"]) < 700


def test_five_hostile_ones_of_two_labels_are_within_the_length_of_a_group(sender, receiver):
    told = [alert("Longest", f"{at}{HOSTILE}", at) for at in range(7)]
    for one in told:
        one["labels"]["source"] = "&" * 256
        one["annotations"]["who"] = f"{'&' * 256}, {one['annotations']['who']}"
    sender.post(told)
    text = attachment(receiver)["text"]
    assert text.count("\n") == 9
    assert len(html.unescape(text)) <= 2000


def test_what_has_ended_is_one_line(sender, receiver):
    start = datetime.now(UTC) - timedelta(hours=1, minutes=5, seconds=20)
    sender.post([alert("Ended", "support-bot", 33.3, startsAt=start.isoformat())])
    assert attachment(receiver)["title"].startswith("🔴 FIRING")
    sender.post([alert("Ended", "support-bot", 33.3, startsAt=start.isoformat(), endsAt=datetime.now(UTC).isoformat())])
    found = attachment(receiver)
    title = "🟢 RESOLVED after 1 h 5 min · agent support-bot · Too many runs of an ag…"
    assert (found["title"], found["text"], found["color"]) == (title, "", "good")
    assert "pretext" not in found


def test_an_alert_that_is_not_ours_says_what_it_can(sender, receiver):
    sender.post([{"labels": {"alertname": "DiskFull", "severity": "warning"}}])
    found = attachment(receiver)
    assert (found["title"], found["color"]) == ("🟠 FIRING warning · DiskFull", "warning")
    assert found["footer"] == f"Agentgauge v{__version__} · DiskFull"
    what, value, links = found["text"].splitlines()
    assert what == "DiskFull"
    assert value.startswith("Value unknown. Since ")
    assert links.startswith("<http") and links.endswith("|Silence>") and links.count("|") == 1


def test_what_says_that_numbers_are_old_is_grey_unless_it_wakes_somebody(sender, receiver):
    for severity, title, colour in (
        ("warning", "⚪ FIRING warning · Stale · agent bot", GREY),
        ("critical", "🔴 FIRING critical · Stale · agent bot", "danger"),
    ):
        annotations = {"who": "agent bot", "headline": "Stale", "stale": "yes"}
        sender.post([{"labels": {"alertname": "Old", "severity": severity}, "annotations": annotations}])
        found = attachment(receiver)
        assert (found["title"], found["color"]) == (title, colour)


def test_a_title_that_is_cut_keeps_the_number_of_the_others(sender, receiver):
    told = [alert("Cut", f"{at}{HOSTILE}", at) for at in range(50)]
    sender.post(told)
    title = html.unescape(attachment(receiver)["title"])
    assert title == "🔴 FIRING critical · 49% of runs fail · agent 49<!channel> & `x` *b* {{ … (+49)"
    assert len(title) == 78
