"""What holds for all tests."""

import pytest
from hypothesis import settings
from promtools import lacking

# How long an example takes says how busy the machine is, and nothing of what is tested.
settings.register_profile("roaming", deadline=None)
# The same examples in every run, so that what fails is the change's fault. To look for new ones:
# make test ARGS=--hypothesis-profile=roaming
settings.register_profile("agentgauge", deadline=None, derandomize=True)
settings.load_profile("agentgauge")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what the rules were not tried with."""
    line = lacking()
    if line:
        terminalreporter.write_line(line)
