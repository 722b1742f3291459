"""The promtools that rules and scenarios are tried with: the machine's, and that of the Prometheus that ships.

`make promtool`, which is `python -m tests.promtools`, builds the second one with Go, once for each version.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import yaml

COMPOSE = Path(__file__).parents[1] / "docker-compose.yml"
MODULE = "github.com/prometheus/prometheus"


def shipped() -> str:
    """Return the version of the Prometheus that ships, such as 3.13.4: that of its image."""
    image = yaml.safe_load(COMPOSE.read_text())["services"]["prometheus"]["image"]
    return version_of(image)


def version_of(image: str) -> str:
    """Return the version in the tag of an image, behind which there may be a digest. Raises ValueError."""
    found = re.fullmatch(r"[^@]+:v(\d+\.\d+\.\d+)(?:@.*)?", image)
    if not found:
        raise ValueError(f"{image}: has no tag such as v3.13.4")
    return found[1]


def module_tag(version: str) -> str:
    """Return the version as a Go module, which is 0 until a module's path says otherwise: 3.13.4 is v0.313.4."""
    major, minor, patch = map(int, version.split("."))
    return f"v0.{100 * major + minor}.{patch}"


def place() -> Path:
    """Return where the promtool that ships is, or would be: PROMTOOL_3, else in the user's cache."""
    given = os.environ.get("PROMTOOL_3")
    if given:
        return Path(given)
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache, "agentgauge", f"promtool-{shipped()}")


def version(promtool: Path) -> str:
    """Return the version that a promtool says, such as 2.42.0+ds."""
    done = subprocess.run([promtool, "--version"], capture_output=True, text=True, check=True)
    return done.stdout.split()[2]


def lacking() -> str:
    """Return one line that says what rules were not tried with; empty when they were."""
    if place().is_file():
        return ""
    return (
        f"rules and scenarios were tried with the promtool of this machine only; `make promtool` builds that of "
        f"Prometheus {shipped()}, which ships, with Go"
    )


# A test that asks each `tool` that is there.
with_every_promtool = pytest.mark.parametrize(
    "tool",
    [pytest.param("promtool", id="machine"), *([pytest.param(place(), id="shipped")] if place().is_file() else [])],
)


def build(target: Path) -> None:
    """Build the promtool that ships. Raises CalledProcessError, whose `stderr` is what Go says."""
    # As its makers do: in the module itself, whose own versions of other modules `go install` would not take. Without
    # the finders of targets in clouds, which are a good part of it and of no use to rules.
    environment = os.environ | {"GOFLAGS": "", "GOWORK": "off", "CGO_ENABLED": "0"}
    download = ["go", "mod", "download", "-json", f"{MODULE}@{module_tag(shipped())}"]
    done = subprocess.run(download, env=environment, capture_output=True, text=True, check=True)
    source = json.loads(done.stdout)["Dir"]
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        flags = f"-s -w -X github.com/prometheus/common/version.Version={shipped()}"
        command = ["go", "build", "-trimpath", "-tags=remove_all_sd", f"-ldflags={flags}", f"-o={folder}/promtool"]
        command.append("./cmd/promtool")
        subprocess.run(command, cwd=source, env=environment, capture_output=True, text=True, check=True)
        Path(folder, "promtool").replace(target)


def main() -> int:
    target = place()
    if target.is_file():
        return 0
    if not shutil.which("go"):
        print(f"{target} is not there, and without Go it cannot be built: install Go, or name one in PROMTOOL_3")
        return 1
    began = time.monotonic()
    print(f"Building {target}: some minutes, once.", flush=True)
    try:
        build(target)
    except subprocess.CalledProcessError as error:
        # A download says it as JSON. Of a build, what it downloads are lines too, and why it failed is the last one.
        why = error.stderr.strip().splitlines()[-1] if error.stderr else json.loads(error.stdout)["Error"]
        print(f"{' '.join(error.cmd[:3])}: {why}")
        return 1
    print(f"Built in {time.monotonic() - began:.0f} s.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
