"""The stack as processes of this machine, under supervisor."""

import configparser
import io
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from exporters.stack import access, addresses, alerting, environments, health, past, ports
from exporters.stack.debian import install
from exporters.stack.parts import (
    EXPORTER_NEEDS,
    Part,
    environment,
    make_grafana_folders,
    parts,
    write_prometheus_configuration,
)
from exporters.stack.settings import CHECKOUT, Settings, StackError, remember, write_private

# sun_path of a Unix socket holds 108 bytes, with the closing zero.
_LONGEST_SOCKET = 107
# What a process is given to end by itself; Prometheus writes its head, the exporter commits.
_STOP_SECONDS = 30


def is_running(settings: Settings) -> bool:
    """Say whether a supervisor of this run directory answers."""
    return _configuration(settings).exists() and _control(settings, "pid").returncode == 0


def up(settings: Settings) -> int:
    """Start every part, wait until all are well, say what runs where. Exit code 1 when a part does not become well."""
    if is_running(settings):
        print("Agentgauge already runs. To change a setting: make down, then make up.")
        return status(settings)
    addresses.check(settings.env)
    running = parts(settings)
    # Whoever is to be told needs somebody who tells.
    if settings.notify and not _tells(running) and install(["prometheus-alertmanager"]):
        running = parts(settings)
    needed = {name: part.title for part in running for name in (part.port, part.backend) if name}
    ports.require(settings, needed)
    env = environment(settings, running) | {access.PASSWORD: access.make(settings)}
    _write_files(settings, running)
    past.write(settings, environments.select(env, EXPORTER_NEEDS))
    write_configuration(settings, running)
    # Again: writing the past takes its time.
    ports.require(settings, needed)
    remember(settings)
    command = [sys.executable, "-m", "supervisor.supervisord", "-c", str(_configuration(settings))]
    try:
        environments.write(settings, running, env)
        subprocess.run(command, env=environments.select(env), cwd=settings.home, check=True)
        _until(lambda: is_running(settings), seconds=15)
        urls = {part.name: _health(settings, part) for part in running if part.port}
        failed = health.wait(urls, patience=settings.patience, dead=lambda: _given_up(settings))
        # What answered may be another's, who was quicker to take the port.
        if failed is None and (failed := _not_running(settings)) is None:
            health.wait_for_scrape(settings.url("PROMETHEUS_PORT"))
            return status(settings)
        title = next(part.title for part in running if part.name == failed)
        why = "did not start" if _given_up(settings) else f"did not become well within {settings.patience:g} s"
        print(f"{title} {why}. The end of {_log(settings, failed)}:\n", file=sys.stderr)
        print(_log_end(settings, failed) + "\n", file=sys.stderr)
    except BaseException:
        down(settings)
        raise
    down(settings)
    return 1


def down(settings: Settings) -> int:
    """Stop every part and wait until they are gone; data stay."""
    if not is_running(settings):
        environments.remove(settings)
        print("Agentgauge does not run.")
        return 0
    pid = int(_control(settings, "pid").stdout)
    _control(settings, "shutdown")
    if not _until(lambda: not _lives(pid), seconds=_STOP_SECONDS + 10):
        print(f"The supervisor (pid {pid}) does not end.", file=sys.stderr)
        return 1
    environments.remove(settings)
    print(f"Agentgauge is stopped. Its data stay in {settings.home}.")
    return 0


def status(settings: Settings) -> int:
    """Print a line for each part: its state, and where it is. Exit code 1 unless all are well."""
    if not is_running(settings):
        print("Agentgauge does not run: make up starts it.")
        return 1
    states = _states(settings)
    all_well = True
    for part in (part for part in parts(settings) if part.name in states):
        well = states[part.name] == "RUNNING" and (not part.port or health.is_well(_health(settings, part)))
        why = health.trouble(settings.url(part.port, part.status)) if well and part.status else ""
        all_well &= well and not why
        where = settings.url(part.port) if part.port else part.place
        print(f"  {part.title:<12} {_in_a_word(states[part.name], well=well, why=why):<9} {where}")
        if why:
            print(f"  {'':<12} {why}")
    if "grafana" not in states:
        print("  Grafana      none      not installed here; the portal draws the same panels itself")
    told = alerting.told(settings, grafana="grafana" in states, alertmanager="alertmanager" in states)
    print(f"Alerts: {told}")
    print(f"Traces: {settings.traces}\nLogs:   {settings.home / 'logs'}, or make logs")
    return 0 if all_well else 1


def _in_a_word(state: str, *, well: bool, why: str) -> str:
    """Say how a part is: by supervisor's word for its state where it does not answer."""
    return "not well" if why else "well" if well else state.lower()


def logs(settings: Settings) -> int:
    """Show the end of every part's log and what is added to it, until Ctrl-C."""
    files = sorted(str(path) for path in (settings.home / "logs").glob("*.log"))
    if not files:
        print("There are no logs yet: make up starts Agentgauge.")
        return 1
    return subprocess.run(["tail", "-n", "20", "-F", *files], check=False).returncode


def drill(settings: Settings) -> int:
    """Have a drill told on every way that is set. Exit code 1 where nobody is told of anything."""
    states = _states(settings) if is_running(settings) else {}
    if "grafana" in states:
        print(alerting.DRILL_OF_GRAFANA)
        return 1
    told = alerting.told(settings, grafana=False, alertmanager="alertmanager" in states)
    if not states or not settings.notify or "alertmanager" not in states:
        print(f"No drill: {told if states else 'Agentgauge does not run'}")
        return 1
    alerting.drill(settings)
    print(f"A drill, critical and warning, is told in half a minute: {told}. Some minutes later the critical one ends.")
    return 0


def _write_files(settings: Settings, running: Sequence[Part]) -> None:
    """Lay out what the parts start from."""
    names = {part.name for part in running}
    write_prometheus_configuration(settings, list(running))
    if "alertmanager" in names:
        alerting.write_configuration(settings)
    if "grafana" in names:
        make_grafana_folders(settings)


def _tells(running: Sequence[Part]) -> bool:
    """Say whether a part tells people of alerts."""
    return any(part.name in ("grafana", "alertmanager") for part in running)


def _given_up(settings: Settings) -> str | None:
    """Name a part that supervisor starts no more."""
    return next((name for name, state in _states(settings).items() if state == "FATAL"), None)


def _not_running(settings: Settings) -> str | None:
    """Give parts that have just started the time to stay up; name one that does not, or None."""
    _until(lambda: set(_states(settings).values()) <= {"RUNNING", "FATAL"}, seconds=20)
    return next((name for name, state in _states(settings).items() if state != "RUNNING"), None)


def _health(settings: Settings, part: Part) -> str:
    return settings.url(part.port, part.health)


def write_configuration(settings: Settings, running: Sequence[Part]) -> None:
    """Write supervisord.conf (https://supervisord.org/configuration.html), for its owner only."""
    socket = settings.home / "supervisor.sock"
    if len(os.fsencode(socket)) > _LONGEST_SOCKET:
        raise StackError(f"The path {settings.home} is too long for a socket: choose another with AGENTGAUGE_HOME.")
    (settings.home / "logs").mkdir(exist_ok=True)
    conf = configparser.RawConfigParser()
    conf.read_dict(
        _supervisor(settings, socket) | {f"program:{part.name}": _program(settings, part) for part in running}
    )
    text = io.StringIO()
    conf.write(text)
    write_private(_configuration(settings), text.getvalue())


def _supervisor(settings: Settings, socket: Path) -> dict[str, dict[str, str]]:
    own = {
        "directory": str(settings.home),
        "pidfile": str(settings.home / "supervisord.pid"),
        "logfile": str(settings.home / "logs" / "supervisor.log"),
        "logfile_maxbytes": "1MB",
        "logfile_backups": "1",
        "umask": "077",
    }
    # Said outright, or supervisor warns that it was forgotten.
    as_root = {"user": "root"} if os.geteuid() == 0 else {}
    factory = "supervisor.rpcinterface:make_main_rpcinterface"
    return {
        "unix_http_server": {"file": _escape(str(socket)), "chmod": "0700"},
        "supervisorctl": {"serverurl": _escape(f"unix://{socket}")},
        "rpcinterface:supervisor": {"supervisor.rpcinterface_factory": factory},
        "supervisord": {name: _escape(value) for name, value in (own | as_root).items()},
    }


def _program(settings: Settings, part: Part) -> dict[str, str]:
    launch = (sys.executable, "-m", "exporters.stack.launch", str(environments.file(settings, part)))
    return {
        "command": _escape(shlex.join((*launch, *part.command))),
        "directory": _escape(str(CHECKOUT)),
        "autorestart": "true",
        "startretries": "1",
        "stopwaitsecs": str(_STOP_SECONDS),
        "stopasgroup": "true",
        "killasgroup": "true",
        "redirect_stderr": "true",
        # Relative to the run directory: supervisor expands the percent signs of this one twice.
        "stdout_logfile": str(_log(settings, part.name).relative_to(settings.home)),
        "stdout_logfile_maxbytes": "10MB",
        "stdout_logfile_backups": "2",
    }


def _escape(value: str) -> str:
    """Double the percent signs, which supervisor expands."""
    return value.replace("%", "%%")


def _configuration(settings: Settings) -> Path:
    return settings.home / "supervisord.conf"


def _control(settings: Settings, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "supervisor.supervisorctl", "-c", str(_configuration(settings)), *words]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)


def _states(settings: Settings) -> dict[str, str]:
    """Return each part's state by supervisor's names (https://supervisord.org/subprocess.html)."""
    lines = (line.split() for line in _control(settings, "status").stdout.splitlines())
    return {words[0]: words[1] for words in lines if len(words) > 1}


def _log(settings: Settings, name: str) -> Path:
    return settings.home / "logs" / f"{name}.log"


def _log_end(settings: Settings, name: str, lines: int = 15) -> str:
    log = _log(settings, name)
    return "\n".join(log.read_text("utf-8", "replace").splitlines()[-lines:]) if log.exists() else "(no log)"


def _until(holds: Callable[[], bool], *, seconds: float) -> bool:
    """Wait for something to hold; say whether it does."""
    end = time.monotonic() + seconds
    while not (held := holds()) and time.monotonic() < end:
        time.sleep(0.1)
    return held


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
