"""What we hand to Grafana, held against its own rules: it is not here, and it ends at the first thing it refuses."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import grafana_files as files
import grafana_rules as rules
import pytest
import yaml
from compose_file import MissingError, environment, interpolate

from exporters.stack import addresses, parts
from exporters.stack.addresses import NOBODY, SENDER
from exporters.stack.parts import Part
from exporters.stack.settings import CHECKOUT, StackError, load

PROVISIONING = CHECKOUT / "grafana" / "provisioning"
SECRETS = {"GRAFANA_ADMIN_PASSWORD": "x" * 32, "GRAFANA_SECRET_KEY": "y" * 32}
# All that somebody may set, with what is odd and yet right.
ALL = {
    "SLACK_WEBHOOK_URL": "https://hooks.slack.com/services/T0/B0/x",
    "SLACK_WEBHOOK_URL_WARNING": "https://hooks.slack.com/services/T0/B0/y",
    "SLACK_CHANNEL_CRITICAL": "#911",
    "SLACK_CHANNEL_WARNING": "C0123456789",
    "SLACK_MENTION": "<!subteam^S0123456789> <@U0123456789>",
    "ALERT_EMAIL": "root@localhost, on-call@agents.example",
    "ALERT_WEBHOOK_URL": "https://user:secret@hooks.example/x?y=%24z",
    "SMTP_HOST": "mail.agents.example:587",
    "SMTP_USER": "agentgauge",
    "SMTP_PASSWORD": "a $ign # and \"'",
    "SMTP_FROM": "agentgauge@agents.example",
    "AGENTGAUGE_ROOT_URL": "https://agents.example/x/",
    "PORTAL_PORT": "8600",
}
# .env.example copied as it is: each is set, to nothing.
EMPTY = dict.fromkeys(ALL, "")
HANDED = {"nothing": {}, "empty": EMPTY, "everything": ALL}


def by_compose(_: Path, values: Mapping[str, str]) -> dict[str, str]:
    return environment("grafana", SECRETS | values)


def by_process(home: Path, values: Mapping[str, str]) -> dict[str, str]:
    """What a Grafana of this machine gets, without the environment of whoever runs the tests."""
    settings = load({"AGENTGAUGE_HOME": str(home), "TRACE_SOURCES": "createagents:///nowhere", **SECRETS, **values})
    return parts.environment(settings, [Part(name="grafana", title="Grafana", command=("grafana",))])


@pytest.fixture(
    params=[
        pytest.param((way, values), id=f"{way.__name__} {name}")
        for way in (by_compose, by_process)
        for name, values in HANDED.items()
    ]
)
def handed(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    """The variables that Grafana is started with."""
    way, values = request.param
    made: dict[str, str] = way(tmp_path, values)
    return made


# Settings


def test_every_setting_exists_in_grafana_and_is_of_its_kind(handed: dict[str, str]) -> None:
    strange = [name for name in handed if name.startswith("GF_") and name not in rules.VARIABLES]
    assert strange == []
    values = rules.settings(handed)
    faults = {setting: rules.fault(setting, value) for setting, value in values.items()}
    assert {setting: fault for setting, fault in faults.items() if fault} == {}
    assert {("smtp", "from_address"), ("server", "root_url"), ("security", "secret_key")} <= values.keys()


def test_grafana_starts_with_the_sender_of_mail(handed: dict[str, str]) -> None:
    sender = handed["GF_SMTP_FROM_ADDRESS"]
    assert rules.is_sender(sender), "invalid email address for SMTP from_address config"
    assert sender in (SENDER, ALL["SMTP_FROM"])
    assert handed["ALERT_EMAIL"] in (NOBODY, ALL["ALERT_EMAIL"])


def test_the_sender_that_nobody_has_chosen_is_nobodys() -> None:
    # RFC 2606 keeps .invalid for names that lead nowhere.
    assert (SENDER, NOBODY) == ("agentgauge@agentgauge.invalid", "nobody@agentgauge.invalid")


@pytest.mark.parametrize(
    "sender",
    [
        "agentgauge@agents.example",
        "a.b+c@x-1.agents.example",
        "a@b.c",
        "a@x..y",
        "a@.x.y",
        "a@x.y.",
        "a@x.y1",
        "a@x.1y",
        "a@x_z.y",
        "a@-x.y",
        "a@x-.y",
        "a@x.y-",
        "a@x.y-z",
        ".a@x.y",
        "a.@x.y",
        "a..b@x.y",
        "a@b@x.y",
        "a b@x.y",
        "a@x.y\n",
        "<a@x.y>",
        "ä@x.y",
        '"a b"@x.y',
        "a@[127.0.0.1]",
    ],
)
def test_a_sender_that_grafana_refuses_is_refused_before(sender: str) -> None:
    try:
        addresses.check({"SMTP_FROM": sender})
    except StackError as error:
        assert str(error).startswith("SMTP_FROM is not one address of mail")
    else:
        assert rules.is_sender(sender)


def test_mail_is_on_where_there_is_a_server_for_it(handed: dict[str, str]) -> None:
    assert (handed["GF_SMTP_ENABLED"] == "true") is (handed["GF_SMTP_HOST"] == ALL["SMTP_HOST"])


def test_links_and_files_below_a_path_are_served_there(tmp_path: Path) -> None:
    """With serve_from_sub_path the path of root_url is taken off; without one it has to be the root."""
    for way, path in ((by_compose, "/grafana/"), (by_process, "/")):
        values = rules.settings(way(tmp_path, {}))
        assert values["server", "root_url"].split("/", 3)[3] == path[1:]
        assert (values.get(("server", "serve_from_sub_path")) == "true") is (path != "/")


def test_home_is_a_dashboard_that_is_there(handed: dict[str, str]) -> None:
    path = PurePosixPath(rules.settings(handed)["dashboards", "default_home_dashboard_path"])
    assert str(path.parent) == handed["DASHBOARDS_PATH"]
    assert json.loads((PROVISIONING / "dashboards" / "json" / path.name).read_text())["uid"] == "agents-overview"


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        (("smtp", "from_adress"), "a@b.example"),
        (("smtp", "from_address"), "agentgauge@localhost"),
        (("smtp", "from_address"), "Agentgauge <a@b.example>"),
        (("smtp", "from_address"), "a@10.0.0.1"),
        (("smtp", "enabled"), "off"),
        (("server", "http_port"), "3000/tcp"),
        (("server", "root_url"), "127.0.0.1:3000"),
        (("security", "secret_key"), ""),
        (("auth.anonymous", "org_role"), "Reader"),
        (("unified_alerting", "evaluation_timeout"), "30"),
        # Nobody has looked it up.
        (("server", "cdn_url"), "https://cdn.example"),
    ],
)
def test_a_setting_that_grafana_would_refuse_or_pass_over_is_a_fault(setting: rules.Setting, value: str) -> None:
    assert rules.fault(setting, value)


# Files


@pytest.mark.parametrize(
    ("folder", "schema"),
    [
        ("alerting", files.ALERTING),
        ("dashboards", files.DASHBOARDS),
        ("datasources", files.DATASOURCES),
        ("plugins", files.PLUGINS),
    ],
)
def test_files_are_as_grafana_reads_them(folder: str, schema: Any) -> None:
    # A folder that is not there is an error in the log of each start.
    found = sorted((PROVISIONING / folder).glob("*.yaml"))
    assert found
    for file in found:
        assert files.misfits(yaml.safe_load(file.read_text()), schema, file.name) == []


def test_names_are_unique_where_grafana_has_one_place_for_them() -> None:
    rule_groups = yaml.safe_load((PROVISIONING / "alerting" / "rules.yaml").read_text())["groups"]
    points = yaml.safe_load((PROVISIONING / "alerting" / "contact-points.yaml").read_text())["contactPoints"]
    titles = [(group["folder"], rule["title"]) for group in rule_groups for rule in group["rules"]]
    for names in (
        [rule["uid"] for group in rule_groups for rule in group["rules"]],
        titles,
        [group["name"] for group in rule_groups],
        [receiver["uid"] for point in points for receiver in point["receivers"]],
        [point["name"] for point in points],
    ):
        assert len(names) == len(set(names)) > 0


def _without(document: Any, *path: Any) -> None:
    *way, last = path
    for step in way:
        document = document[step]
    del document[last]


def _with(document: Any, value: Any, *path: Any) -> None:
    *way, last = path
    for step in way:
        document = document[step]
    document[last] = value


RULE = ("groups", 0, "rules", 0)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda found: _with(found, "x" * 41, *RULE, "uid"), "uid: not accepted"),
        (lambda found: _with(found, "a.b", *RULE, "uid"), "uid: not accepted"),
        (lambda found: _with(found, "15s", "groups", 0, "interval"), "interval: not accepted"),
        (lambda found: _with(found, "Ok", *RULE, "noDataState"), "noDataState: not accepted"),
        (lambda found: _with(found, "OK", *RULE, "execErrorState"), "execErrorState: no such key"),
        (lambda found: _with(found, "5 m", *RULE, "for"), "for: not accepted"),
        (lambda found: _with(found, "1.5h", *RULE, "keepFiringFor"), "keepFiringFor: not accepted"),
        (lambda found: _with(found, {"x": 1}, *RULE, "labels"), "labels: not accepted"),
        (lambda found: _without(found, *RULE, "condition"), "condition: missing"),
        (lambda found: _with(found, [], *RULE, "data"), "data: missing"),
        (lambda found: _without(found, *RULE, "data", 0, "refId"), "refId: missing"),
    ],
)
def test_a_rule_that_grafana_would_refuse_is_a_misfit(spoil: Callable[[Any], None], says: str) -> None:
    document = yaml.safe_load((PROVISIONING / "alerting" / "rules.yaml").read_text())
    spoil(document)
    (said,) = files.misfits(document, files.ALERTING)
    assert says in said


# Contact points


def receivers(environment: Mapping[str, str]) -> dict[str, tuple[str, Any]]:
    """Type and settings of each receiver as Grafana has them once variables are in their place."""
    points = yaml.safe_load((PROVISIONING / "alerting" / "contact-points.yaml").read_text())["contactPoints"]
    return {
        one["uid"]: (one["type"], files.expanded(one["settings"], environment))
        for point in points
        for one in point["receivers"]
    }


def test_grafana_starts_with_every_contact_point(handed: dict[str, str]) -> None:
    faults = {uid: files.receiver_fault(*found) for uid, found in receivers(handed).items()}
    assert len(faults) == 6
    assert {uid: fault for uid, fault in faults.items() if fault} == {}


@pytest.mark.parametrize("way", [by_compose, by_process])
def test_what_is_set_reaches_a_contact_point_as_it_is(way: Callable[..., dict[str, str]], tmp_path: Path) -> None:
    found = receivers(way(tmp_path, ALL))
    assert found["slack_critical"][1]["url"] == ALL["SLACK_WEBHOOK_URL"]
    assert found["slack_warning"][1]["url"] == ALL["SLACK_WEBHOOK_URL_WARNING"]
    assert found["slack_critical"][1]["recipient"] == "#911"
    assert found["slack_warning"][1]["recipient"] == "C0123456789"
    assert f'{{{{ with "{ALL["SLACK_MENTION"]}" }}}}' in found["slack_critical"][1]["text"]
    assert {found[f"email_{level}"][1]["addresses"] for level in ("critical", "warning")} == {ALL["ALERT_EMAIL"]}
    assert found["webhook_critical"][1]["url"] == ALL["ALERT_WEBHOOK_URL"]


@pytest.mark.parametrize(
    ("uid", "variables", "says"),
    [
        ("slack_critical", {"SLACK_WEBHOOK_URL_CRITICAL": ""}, "token must be specified when using the Slack chat API"),
        ("slack_critical", {"SLACK_WEBHOOK_URL_CRITICAL": "hooks.slack.com/x"}, "not an address"),
        ("slack_critical", {"SLACK_CHANNEL_CRITICAL": "911"}, "not text"),
        ("email_critical", {"ALERT_EMAIL": ""}, "not addresses"),
        ("email_critical", {"ALERT_EMAIL": "a@b, c"}, "not addresses"),
        ("webhook_critical", {"ALERT_WEBHOOK_URL": ""}, "not an address"),
    ],
)
def test_a_contact_point_that_grafana_would_refuse_is_a_fault(
    tmp_path: Path, uid: str, variables: dict[str, str], says: str
) -> None:
    found = receivers(by_process(tmp_path, ALL) | variables)
    assert says in files.receiver_fault(*found[uid])


def test_a_dollar_in_a_variable_is_put_in_place_once_more() -> None:
    assert files.expanded("${URL}", {"URL": "http://host/$x"}) == "http://host/"


# How Compose fills in what docker-compose.yml leaves open, by its specification


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a ${SET} $SET $${SET}", "a yes yes ${SET}"),
        ("${UNSET}|${EMPTY}", "|"),
        ("${SET:-no}${UNSET:-other}${EMPTY:-other}", "yesotherother"),
        ("${UNSET-other}${EMPTY-other}", "other"),
        ("${SET:+slack} ${EMPTY:+email} ${UNSET:+webhook}", "slack  "),
        ("${EMPTY+there}${UNSET+there}", "there"),
        ("${UNSET:-${EMPTY:-http://127.0.0.1:${SET}/}}", "http://127.0.0.1:yes/"),
        ("${SET:?is not set}", "yes"),
    ],
)
def test_variables_are_put_in_place_as_compose_does(text: str, expected: str) -> None:
    assert interpolate(text, {"SET": "yes", "EMPTY": ""}) == expected


def test_compose_refuses_a_secret_that_is_empty() -> None:
    with pytest.raises(MissingError, match="GRAFANA_SECRET_KEY is not set - make up writes a random one"):
        environment("grafana", SECRETS | {"GRAFANA_SECRET_KEY": ""})
