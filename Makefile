# make          check: lint, types, and that generated files are fresh
# make up       start everything and say where; make status, make logs, make down; make drill tries how alerts are told
# make test     everything that can fail; installs Debian's packages where it may
# make promtool the promtool of the Prometheus that ships, so that the tests try the rules with it too; needs Go
# make build    write the generated files: rules, dashboards, reference, runbooks
# make bench    the figures of docs/benchmarks.md; make screenshots, the README's pictures
#
# Settings are environment variables or words after the target: make up PORTAL_PORT=8600
# .env.example lists them. make up DEMO=all: the demo writes to every kind of store, and all of them are read.

PYTHON ?= $(shell for p in python3 python3.11 python3.12 python3.13 python3.14; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
PY := .venv/bin/python
BUILDERS := exporters.catalogue.build prometheus.build grafana.build
# Programs that tests start, each of a Debian package that exporters/stack/debian.py knows. Prometheus brings promtool.
PROGRAMS := prometheus prometheus-alertmanager chromium nginx openssl strace postgres

.DEFAULT_GOAL := check
.PHONY: check build test promtool up down status logs drill bench screenshots

check: .venv/test.stamp
	$(PY) -m ruff check
	$(PY) -m ruff format --check
	$(PY) -m mypy
	for builder in $(BUILDERS); do $(PY) -m $$builder --check || exit 1; done

build: .venv/test.stamp
	for builder in $(BUILDERS); do $(PY) -m $$builder || exit 1; done

# make test ARGS='-k stack' runs some. Most of what tests do is wait for other processes, so more of them run side
# by side than there are cores; those of one module share what they have started, and stay together.
test: .venv/test.stamp
	$(PY) -m exporters.stack.debian $(PROGRAMS)
	$(PY) -m pytest --numprocesses=4 --dist=loadscope --no-loadscope-reorder --durations=10 $(ARGS)

# Some minutes for the first time; it stays in the user's cache.
promtool: .venv/test.stamp
	@$(PY) -m tests.promtools

up: .venv/up.stamp
	@$(PY) -m exporters.stack up

down status logs drill: .venv/up.stamp
	@$(PY) -m exporters.stack $@

bench: .venv/test.stamp
	$(PY) -m tests.bench

# The README's pictures. The end-to-end test leaves what it sees of every tab in .screenshots.
screenshots: .venv/test.stamp
	$(PY) -m exporters.stack.debian $(PROGRAMS)
	$(PY) -m tests.screenshots

.venv/up.stamp: pyproject.toml | .venv/bin/pip
	$(PY) -m pip install --quiet --disable-pip-version-check --editable '.[stores,portal,processes]'
	@touch $@

.venv/test.stamp: pyproject.toml | .venv/bin/pip
	$(PY) -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch .venv/up.stamp $@

# Debian packages ensurepip apart from Python.
.venv/bin/pip:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed, and there is none on the PATH."; exit 2; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || $(PYTHON) -m exporters.stack.debian python3-venv
	$(PYTHON) -m venv .venv
