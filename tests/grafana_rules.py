"""What Grafana accepts as a setting, for tests where there is no Grafana: a fact for each that we make.

Paths in comments are those of grafana/grafana at v12.2.0, and of the grafana/alerting that it is built with. In
docker-compose.yml is 12.4, whose sources could not be read here. That a sender without a dot, a numeric channel,
the chat API without a token and a broken address of Slack each end a start was seen in a real 12.2.0.
"""

import configparser
import re
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import yaml

ROOT = Path(__file__).parents[1]
Setting = tuple[str, str]

# Section and name -> what it is.
KINDS: dict[Setting, str] = {
    (section, name): kind
    for section, kinds in yaml.safe_load((ROOT / "tests/fixtures/grafana/settings.yaml").read_text()).items()
    for kind, names in kinds.items()
    for name in names.split()
}
# Not in 12.2.0; of Grafana's documents of newer versions (setup-grafana/configure-grafana).
KINDS["plugins", "preinstall_auto_update"] = "switch"

# pkg/setting/setting.go, EnvKey: a variable that is not among these is passed over.
VARIABLES: dict[str, Setting] = {
    f"GF_{re.sub('[.-]', '_', section)}_{name.replace('.', '_')}".upper(): (section, name) for section, name in KINDS
}


def settings(environment: Mapping[str, str]) -> dict[Setting, str]:
    """What Grafana is set to by grafana.ini and its environment, in which an empty value is none."""
    ini = configparser.RawConfigParser(comment_prefixes=(";", "#"), strict=True)
    ini.optionxform = str  # names keep their case
    ini.read_string((ROOT / "grafana" / "grafana.ini").read_text())
    values = {(section, name): value for section in ini.sections() for name, value in ini[section].items()}
    values |= {VARIABLES[name]: value for name, value in environment.items() if name in VARIABLES and value}
    # pkg/setting/expanders.go: in every value, once.
    return {
        setting: re.sub(r"\$\{([^}]+)\}", lambda name: environment.get(name[1], ""), value)
        for setting, value in values.items()
    }


# Mail

_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_INNER = r"[A-Za-z0-9._~-]*"
_SENDER = re.compile(rf"{_ATOM}(\.{_ATOM})*@([A-Za-z0-9]({_INNER}[A-Za-z0-9])?\.)+[A-Za-z]({_INNER}[A-Za-z])?\.?")


def is_sender(text: str) -> bool:
    """Whether Grafana starts with this sender: pkg/services/notifications/notifications.go asks, mail on or off.

    pkg/util/validation.go, IsEmail, as far as it goes without quotes and letters beyond ASCII: a dot in the domain, and
    the last part of it has letters at both ends.
    """
    return bool(_SENDER.fullmatch(text))


def is_recipients(text: str) -> bool:
    """Whether mail can go there: addresses between commas, semicolons or ends of line (receivers/email/config.go)."""
    parts = [part.strip() for part in re.split(r"[,;\n]", text)]
    return all(re.fullmatch(rf"{_ATOM}(\.{_ATOM})*@[A-Za-z0-9]({_INNER}[A-Za-z0-9])?", part) for part in parts)


# Settings that are text: what each has to be.


def is_address(text: str) -> bool:
    parts = urlsplit(text)
    return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0


def _is_ip(text: str) -> bool:
    return bool(ip_address(text))


def _is_server(text: str) -> bool:
    """net.SplitHostPort (pkg/services/notifications/smtp.go)."""
    return bool(re.fullmatch(r"(\[[^\[\]]+\]|[^:\[\]]+):\d+", text))


def _is_path(text: str) -> bool:
    return PurePosixPath(text).is_absolute()


def _is_policy(text: str) -> bool:
    """A nonce for scripts, or no script of Grafana's runs (pkg/middleware/csp.go); no end of a header within."""
    return "$NONCE" in text and "\n" not in text


def among(*words: Any) -> Callable[[Any], bool]:
    return lambda value: value in words


TEXTS: dict[Setting, Callable[[str], bool]] = {
    # pkg/api/dashboard.go: a file, or Home is an error.
    ("dashboards", "default_home_dashboard_path"): lambda text: _is_path(text) and text.endswith(".json"),
    ("paths", "data"): _is_path,
    ("paths", "logs"): _is_path,
    ("paths", "plugins"): _is_path,
    ("paths", "provisioning"): _is_path,
    ("server", "http_addr"): _is_ip,
    # pkg/middleware/validate_host.go: the host of a request, without its port.
    ("server", "domain"): lambda text: bool(re.fullmatch(r"[A-Za-z0-9.-]+", text)),
    # pkg/setting/setting.go, parseAppUrlAndSubUrl.
    ("server", "root_url"): lambda text: is_address(text) and text.endswith("/"),
    ("security", "admin_password"): bool,
    ("security", "secret_key"): bool,
    # pkg/setting/setting.go, readSecuritySettings: anything else is lax.
    ("security", "cookie_samesite"): among("lax", "strict", "none", "disabled"),
    ("security", "content_security_policy_template"): _is_policy,
    # The first organisation's name, else nobody is let in (pkg/services/anonymous/anonimpl/client.go).
    ("auth.anonymous", "org_name"): among("Main Org."),
    # pkg/services/org/model.go.
    ("auth.anonymous", "org_role"): among("Viewer", "Editor", "Admin", "None"),
    # pkg/infra/log/log.go: an unknown mode writes nothing, an unknown level is an error.
    ("log", "mode"): lambda text: set(text.split()) <= {"console", "file", "syslog"},
    ("log", "level"): among("trace", "debug", "info", "warn", "error", "critical"),
    ("smtp", "from_address"): is_sender,
    ("smtp", "host"): _is_server,
    ("smtp", "user"): bool,
    ("smtp", "password"): bool,
}


def is_duration(text: str) -> bool:
    """github.com/prometheus/common/model, ParseDuration; in rules and routes."""
    units = "".join(rf"(\d+{unit})?" for unit in ("y", "w", "d", "h", "m(?!s)", "s", "ms"))
    return bool(text) and bool(re.fullmatch(units, text))


_KINDS: dict[str, Callable[[str], bool]] = {
    # gopkg.in/ini.v1 takes more words; one that it does not know becomes the default without a word.
    "switch": among("true", "false"),
    "number": lambda text: bool(re.fullmatch(r"-?\d+", text)),
    "duration": is_duration,
}


def fault(setting: Setting, value: str) -> str:
    """What Grafana would not accept about a setting, "" where there is nothing."""
    if setting not in KINDS:
        return "no such setting"
    kind = KINDS[setting]
    accepts = TEXTS.get(setting) if kind == "text" else _KINDS[kind]
    if accepts is None:
        return "nothing is known here of what it may be: look it up, and add it to TEXTS"
    return "" if accepts(value) else f"not accepted: {value!r}"
