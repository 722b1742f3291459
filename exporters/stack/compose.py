"""The stack in Docker Compose."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from shlex import quote as quote_shell
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from exporters.stack import addresses, alerting, health, ports
from exporters.stack.settings import (
    CHECKOUT,
    Settings,
    StackError,
    database_urls,
    folder_url,
    remember,
    write_private,
)

# Of a Compose file: what is said of each service.
Services = dict[str, dict[str, Any]]

# The first that knows `required: false` under depends_on.
_FLOOR = (2, 20, 2)

# What is reachable from this machine, and where it says that it is well: title -> (port, path).
_DOORS = {
    "Exporter": ("EXPORTER_PORT", "/-/healthy"),
    "Prometheus": ("PROMETHEUS_PORT", "/-/ready"),
    "Portal": ("PORTAL_PORT", "/_stcore/health"),
    "Grafana": ("PORTAL_PORT", "/grafana/api/health"),
}

# Where the exporter says what keeps it from its work.
_STATUS = ("EXPORTER_PORT", "/-/status")

# Where it keeps its state, in its container.
_STATE = "/var/lib/agentgauge/state"

# As whom the exporter runs unless somebody else owns what it reads; as the Dockerfile has it.
_NOBODY = (10001, 10001)

# Settings that are files of this machine, which docker-compose.yml mounts where they are.
_FILES = ("AGENTGAUGE_PRICES", "AGENTGAUGE_LITELLM_PRICES", "AGENTGAUGE_BUDGETS", "AGENTGAUGE_OBJECTIVES")


def answers(settings: Settings) -> bool:
    """Say whether a Docker engine answers and its Compose is new enough; a Compose that is not is named."""
    if not _succeeds(["docker", "info"], settings):
        return False
    ended = _run(["docker", "compose", "version", "--short"], settings, capture=True)
    version = tuple(int(part) for part in ended.stdout.strip().lstrip("v").split("-")[0].split(".") if part.isdecimal())
    if ended.returncode == 0 and version >= _FLOOR:
        return True
    wanted = ".".join(map(str, _FLOOR))
    print(f"Docker answers, but its Compose is {ended.stdout.strip() or 'missing'} (wanted: {wanted} or newer).")
    return False


def is_running(settings: Settings) -> bool:
    """Say whether a container of ours runs."""
    return bool(_compose(settings, "ps", "--quiet", capture=True).stdout.strip())


def up(settings: Settings) -> int:
    """Build, start and wait for every container. Exit code 1 when one does not become well."""
    addresses.check(settings.env)
    if not is_running(settings):
        doors = {port: title for title, (port, _) in _DOORS.items() if title != "Grafana"}
        ports.require(settings, doors)
    for name in ("GRAFANA_ADMIN_PASSWORD", "GRAFANA_SECRET_KEY"):
        settings.secret(name)
    user = _write_override(settings)
    remember(settings)
    if settings.demo is None and not is_running(settings):
        _give_state(settings, user)
    if _compose(settings, "up", "--detach", "--build", "--remove-orphans").returncode:
        _compose(settings, "ps", "--all")
        print("Not everything started; make logs shows why, make down stops the rest.", file=sys.stderr)
        return 1
    urls = {title: settings.url(port, path) for title, (port, path) in _DOORS.items()}
    if failed := health.wait(urls, patience=settings.patience, dead=lambda: None):
        print(f"{failed} does not answer at {urls[failed]}; make logs shows why.", file=sys.stderr)
        return 1
    health.wait_for_scrape(settings.url("PROMETHEUS_PORT"))
    return status(settings)


def down(settings: Settings) -> int:
    """Stop and remove the containers; the named volumes stay."""
    return _compose(settings, "down", "--remove-orphans").returncode


def status(settings: Settings) -> int:
    """Print a line for each part, then what Compose says. Exit code 1 unless all are well."""
    well = {title: health.is_well(settings.url(port, path)) for title, (port, path) in _DOORS.items()}
    why = health.trouble(settings.url(*_STATUS)) if well["Exporter"] else ""
    well["Exporter"] = well["Exporter"] and not why
    for title, (port, _) in _DOORS.items():
        where = settings.url(port, "/grafana/" if title == "Grafana" else "")
        print(f"  {title:<11} {'well' if well[title] else 'not well':<9} {where}")
        if title == "Exporter" and why:
            print(f"  {'':<11} {why}")
    print(f"Alerts: {alerting.told(settings, grafana=True, alertmanager=False)}")
    print(f"Traces: {settings.traces if settings.demo is None else 'the demo'}")
    return 0 if all(well.values()) else 1


def logs(settings: Settings) -> int:
    """Show the end of the containers' logs and what is added to them, until Ctrl-C."""
    return _compose(settings, "logs", "--follow", "--tail", "20").returncode


def drill(settings: Settings) -> int:
    """Say how Grafana, which tells of alerts here, tries its ways. Exit code 1: it was not done."""
    print(alerting.DRILL_OF_GRAFANA)
    return 1


def locate(url: str) -> tuple[str, Path | None]:
    """Return a source URL as the exporter's container is told it, and the folder of this machine to mount for it.

    That is the folder that it names, or the one that the file is in: beside a database stand the files of its
    journal. It is mounted under the path that it has here, so a URL stays as it is but for a `~`.
    """
    parts = urlsplit(url)
    text = unquote(parts.netloc + parts.path)
    path = Path(text.removeprefix("/") if text.startswith("/~") else text).expanduser()
    if not path.is_absolute() or not path.exists():
        return url, None
    told = f"{parts.scheme}://{quote(str(path))}" + (f"?{parts.query}" if parts.query else "")
    return told, path if path.is_dir() else path.parent


def _write_override(settings: Settings) -> tuple[int, int]:
    """Say what is of this machine only: the folders that are read, and as whom. Return the user and the group."""
    user, services = _NOBODY, _of_every_kind(settings) if settings.stores else {}
    if settings.demo is None:
        user, services = _of_sources(settings)
    write_private(_override(settings), json.dumps({"services": services}, indent=2))
    return user


def _give_state(settings: Settings, user: tuple[int, int]) -> None:
    """Give the state, which another user may have made, to the one that the exporter runs as now.

    Raises StackError. Only this step runs as root, and it changes nothing but who owns the state's files.
    """
    options = ["--rm", "--no-deps", "--build", "--user", "0:0", "--cap-add", "CHOWN", "--cap-add", "DAC_OVERRIDE"]
    script = f"if test -d {_STATE}; then chown -R {user[0]}:{user[1]} {_STATE}; fi"
    ended = _compose(settings, "run", *options, "--entrypoint", "sh", "exporter", "-c", script, capture=True)
    if ended.returncode:
        raise StackError(f"The exporter's state could not be given to user {user[0]}: {ended.stderr.strip()[-500:]}")


def _of_sources(settings: Settings) -> tuple[tuple[int, int], Services]:
    """Say as whom the exporter runs and what it reads, where that is no demo. Raises StackError where it could not."""
    received = [url for url in settings.sources if urlsplit(url).scheme == "otlp"]
    located = [(_received(url), None) if url in received else locate(url) for url in settings.sources]
    read = [folder for _, folder in located if folder]
    exporter: dict[str, Any] = {
        "environment": {"TRACE_SOURCES": " ".join(url for url, _ in located)},
        "volumes": [f"{path}:{path}:ro" for path in dict.fromkeys(read)],
    }
    if received:
        exporter["ports"] = [f"{urlsplit(url).hostname}:{_port(url)}:{_port(url)}" for url in received]
    # Traces are often readable by their owner only; never as root.
    owners = [(found.st_uid, found.st_gid) for path in read if (found := path.stat()).st_uid]
    user = owners[0] if owners else _NOBODY
    if owners:
        exporter["user"] = f"{user[0]}:{user[1]}"
    check_folders(read, user)
    return user, {"exporter": exporter}


def check_folders(folders: Iterable[Path], user: tuple[int, int]) -> None:
    """Raise StackError where the user and group as whom the exporter runs could not read a folder."""
    for path in folders:
        if not _may_list(path.stat(), user):
            raise StackError(
                f"{path}: user {user[0]}, as whom the exporter runs, may not read it, and it never runs as root: "
                f"give it to another user, or to everybody to read (chmod -R o+rX {quote_shell(str(path))})."
            )


def _may_list(found: os.stat_result, user: tuple[int, int]) -> bool:
    """Say whether a user who is not root may list a folder and open what is in it, by its mode."""
    shift = 6 if found.st_uid == user[0] else 3 if found.st_gid == user[1] else 0
    return found.st_mode >> shift & 0o5 == 0o5


def _environment(settings: Settings) -> dict[str, str]:
    """Return what docker-compose.yml is told: ports, whole paths of files, and whether there is a demo."""
    env = {**os.environ, **{name: str(port) for name, port in settings.ports.items()}}
    for name in _FILES:
        if path := settings.env.get(name):
            env[name] = str(Path(path).expanduser().resolve())
    env["COMPOSE_PROFILES"] = "demo" if settings.demo else ""
    return env


def _received(url: str) -> str:
    """Return the URL of a receiver as it is inside of its container, where it listens for the others."""
    parts = urlsplit(url)
    return parts._replace(netloc=f"0.0.0.0:{_port(url)}").geturl()


def _port(url: str) -> int:
    return urlsplit(url).port or 4318


def _of_every_kind(settings: Settings) -> Services:
    """Say how a demo of every kind of store differs: what is written, and what is read."""
    keys = {name: settings.env[name] for name in ("LANGFUSE_PUBLIC_KEY", "LANGFUSE_SECRET_KEY")}
    limit = {"AGENTGAUGE_SERIES_LIMIT": settings.env["AGENTGAUGE_SERIES_LIMIT"]}
    folder = Path("/traces")
    past = (folder_url(folder), *database_urls(folder))
    present = ("otlp://0.0.0.0:4318", "langfuse+http://demo:4319?wait=10s&settle=30s")
    stores = ("msgtrace", "llm-metrics", "otlp=http://exporter:4318", "langfuse=0.0.0.0:4319")
    options = [word for store in stores for word in ("--store", store)]
    once = ("--history", settings.history, "--once", "--budgets", "/traces/budgets.yml")
    return {
        "exporter": {"environment": {**keys, **limit, "TRACE_SOURCES": " ".join((*past, *present))}},
        "demo-past": {"command": ["demo", str(folder), *once, *options]},
        "demo-counters": {"environment": {**limit, "PAST_SOURCES": " ".join(past)}},
        "demo": {"command": ["demo", str(folder), *options], "environment": keys},
    }


def _override(settings: Settings) -> Path:
    return settings.home / "compose.override.json"


def _compose(settings: Settings, *words: str, capture: bool = False) -> subprocess.CompletedProcess[str]:
    files = [CHECKOUT / "docker-compose.yml", *([_override(settings)] if _override(settings).exists() else [])]
    options = [option for file in files for option in ("--file", str(file))]
    options += ["--env-file", str(settings.env_file), "--project-directory", str(CHECKOUT)]
    # The demo's containers are part of the project whether or not they were asked for this time.
    if words[0] != "up":
        options += ["--profile", "demo"]
    return _run(["docker", "compose", *options, *words], settings, capture=capture)


def _succeeds(command: list[str], settings: Settings) -> bool:
    try:
        return _run(command, settings, capture=True, seconds=15).returncode == 0
    except (StackError, subprocess.TimeoutExpired):
        return False


def _run(
    command: list[str], settings: Settings, *, capture: bool, seconds: float | None = None
) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command,
            env=_environment(settings),
            stdin=subprocess.DEVNULL,
            capture_output=capture,
            text=True,
            timeout=seconds,
            check=False,
        )
    except FileNotFoundError:
        raise StackError(
            "docker is not on the PATH: install Docker, or start processes (AGENTGAUGE_STACK=processes)."
        ) from None
