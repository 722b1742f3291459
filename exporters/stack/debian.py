"""Installing what the distribution packages, where that asks nobody anything."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

# Debian starts these as services once they are installed, where systemd runs. Only the programs are
# wanted, and the services of Prometheus and Alertmanager would take the very ports that ours listen on.
_SERVICES = ("prometheus", "prometheus-alertmanager", "nginx", "postgresql")
# Programs whose package has another name.
_PACKAGES = {"postgres": "postgresql"}
_SBIN = ("/usr/local/sbin", "/usr/sbin", "/sbin")


def program(name: str) -> str | None:
    """Return where a program is, looking also where root's programs are and PostgreSQL's, or None."""
    servers = (str(folder) for folder in Path("/usr/lib/postgresql").glob("*/bin"))
    return shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", os.defpath), *_SBIN, *servers]))


def install(packages: Sequence[str]) -> bool:
    """Install packages with apt-get if it is there and needs no password; say whether they are installed now."""
    root = _root()
    if root is None or shutil.which("apt-get") is None:
        return False
    for service in _SERVICES:
        if service in packages and Path("/run/systemd/system").is_dir():
            print(f"{service}: only the program is wanted, so its service is masked (undo: systemctl unmask {service})")
            subprocess.run([*root, "systemctl", "mask", f"{service}.service"], check=False)
    command = [*root, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "--quiet=2"]
    wanted = [*command, "install", "--yes", "--no-install-recommends", *packages]
    print(f"Installing {', '.join(packages)} with apt-get ...", flush=True)
    # The lists of a new machine are empty or old; those of a machine in use are good enough.
    return _runs(wanted, quiet=True) or (_runs([*command, "update"]) and _runs(wanted))


def _root() -> list[str] | None:
    """What to put before a command so that it runs as root without a question; None if that cannot be."""
    if os.geteuid() == 0:
        return []
    return ["sudo", "-n"] if shutil.which("sudo") and _runs(["sudo", "-n", "true"], quiet=True) else None


def _runs(command: Sequence[str], *, quiet: bool = False) -> bool:
    sink = subprocess.DEVNULL if quiet else None
    return subprocess.run(command, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, check=False).returncode == 0


def main() -> int:
    """Install the programs named that are not there; say which are still missing.

    Always 0: what needs them says so itself, and tests that do are skipped.
    """
    names = sys.argv[1:]
    missing = [name for name in names if program(name) is None]
    if missing and not install([_PACKAGES.get(name, name) for name in missing]):
        absent = " ".join(_PACKAGES.get(name, name) for name in missing if program(name) is None)
        print(f"Not here, and not installable without a question: {absent}. Tests that need them are skipped; to run")
        print(f"them: apt-get install {absent}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
