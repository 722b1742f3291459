"""The command line: `agentgauge`, also `python -m exporters`."""

import argparse
import gc
import logging
import math
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from exporters import __version__, arguments, check, demo
from exporters.aggregate import SERIES_LIMIT, VALUES_A_LABEL, Aggregate
from exporters.backfill import History, into_tsdb, pages
from exporters.budgets.table import accounts
from exporters.declarations import Declaration
from exporters.hosts import SERVICE, hosts_of
from exporters.lock import StateError
from exporters.objectives import Objectives, read_objectives
from exporters.once import read
from exporters.pricing import Prices
from exporters.pricing.agreed import read_agreed
from exporters.pricing.table import read_table
from exporters.reconcile import report
from exporters.runner import Runner
from exporters.runs import IDLE_SECONDS
from exporters.sources import Source, SourceError, open_sources
from exporters.statement import statement


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code: 2 for what the caller has to mend."""
    _unset_what_is_empty()
    options = _parser().parse_args(words)
    # A service tells what it does; what is read by a person or a pipe says only what is wrong.
    level = logging.INFO if options.run is _serve else logging.WARNING
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    logging.getLogger("watchfiles").setLevel(logging.WARNING)
    # Objects made and kept until Python looks for cycles among them; 700 by default. Spans have none, and to look pulls
    # what a batch left behind through the processor's cache: a fifth of what has to be fetched into it.
    gc.set_threshold(100_000, 50, 100)
    try:
        code: int = options.run(options)
    except BrokenPipeError:
        # Who reads has had enough, as in `| head`; Python would complain once more when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (SourceError, StateError, OSError) as error:
        print(f"agentgauge: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return code


def _unset_what_is_empty() -> None:
    """Take an empty variable of the environment for one that is not set: Docker Compose and shells hand over what was
    left empty, and a library that only looks whether it is there would use it."""
    for name in [name for name, value in os.environ.items() if not value.strip()]:
        del os.environ[name]


def _serve(options: argparse.Namespace) -> int:
    # Only this command needs a web server, and to load one takes a tenth of what the others take to begin.
    from exporters.server import listen, serve  # noqa: PLC0415

    objectives = _objectives(options)
    sources = _sources(options, follows=True)
    # Bound first: a port in use is told before the state is touched.
    with listen(options.listen) as bound:
        aggregate = _aggregate(options)
        told = {"idle": options.idle_limit, "zone": options.zone, "budgets": options.budgets, "objectives": objectives}
        hosts = hosts_of(SERVICE, options.listen.rpartition(":")[0])
        serve(lambda: Runner(sources, options.state, aggregate, **told), bound, hosts)
    return 0


def _once(options: argparse.Namespace) -> int:
    sources, aggregate, objectives = _sources(options), _aggregate(options), _objectives(options)
    told = {"idle": options.idle_limit, "zone": options.zone, "budgets": options.budgets, "objectives": objectives}
    with read(sources, aggregate, **told) as runner:
        sys.stdout.buffer.write(runner.page("", openmetrics=True))
        sys.stdout.flush()
    return 0


def _check(options: argparse.Namespace) -> int:
    for line in check.report(_sources(options), _aggregate(options), idle=options.idle_limit):
        print(line)
    sys.stdout.flush()
    return 0


def _ledger(options: argparse.Namespace) -> int:
    for line in statement(options.state, options.by, options.form):
        print(line)
    sys.stdout.flush()
    return 0


def _budgets(options: argparse.Namespace) -> int:
    if options.budgets is None:
        raise SourceError("no budgets: name a file with --budgets, or set AGENTGAUGE_BUDGETS; see docs/budgets.md")
    for line in accounts(options.state, options.budgets, time.time()):
        print(line)
    sys.stdout.flush()
    return 0


def _reconcile(options: argparse.Namespace) -> int:
    agreed = True
    for line, agrees in report(open_sources(_urls(options)), options.state, time.time()):
        print(line, flush=True)
        agreed = agreed and agrees
    return 0 if agreed else 1


def _backfill(options: argparse.Namespace) -> int:
    if options.since >= options.until:
        raise SourceError("--from should be before --to")
    history = History(
        labels=dict(options.label or [("job", "agentgauge")]),
        since=options.since,
        until=options.until,
        step=options.step,
    )
    sources, aggregate = _sources(options), _aggregate(options)
    if options.into is not None:
        blocks = into_tsdb(sources, aggregate, history, options.into, idle=options.idle_limit)
        print(f"agentgauge: {blocks} blocks of history in {options.into}", file=sys.stderr)
    else:
        options.openmetrics.mkdir(parents=True, exist_ok=True)
        for page in pages(sources, aggregate, history, options.openmetrics, idle=options.idle_limit):
            print(page.path)
    return 0


def _urls(options: argparse.Namespace) -> list[str]:
    urls: list[str] = options.sources or os.environ.get("TRACE_SOURCES", "").split()
    if not urls:
        raise SourceError("no source: name one, such as createagents:///var/traces, or set TRACE_SOURCES")
    return urls


def _sources(options: argparse.Namespace, *, follows: bool = False) -> list[Source]:
    """Open the sources, each with the prices that were asked for. Raises SourceError."""
    agreed = read_agreed(options.prices) if options.prices else []
    table = read_table(options.litellm_prices) if options.litellm_prices else {}
    return [
        replace(source, price=Prices(source.name, agreed=agreed, table=table))
        for source in open_sources(_urls(options), follows=follows)
    ]


def _objectives(options: argparse.Namespace) -> Declaration[Objectives] | None:
    return Declaration(options.objectives, read_objectives) if options.objectives else None


def _aggregate(options: argparse.Namespace) -> Aggregate:
    limits = dict(options.label_limit or [])
    values = limits.pop("", VALUES_A_LABEL)
    return Aggregate(time.time, series_limit=options.series_limit, values_a_label=values, label_limits=limits)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="agentgauge", description="Turns the traces that LLM agents already write into Prometheus metrics."
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    sources = argparse.ArgumentParser(add_help=False)
    sources.add_argument(
        "sources",
        nargs="*",
        metavar="SOURCE_URL",
        help="such as createagents:///var/traces?name=prod&environment=production&since=30d (default: $TRACE_SOURCES)",
    )
    sources.add_argument(
        "--series-limit",
        type=arguments.positive,
        default=os.environ.get("AGENTGAUGE_SERIES_LIMIT") or SERIES_LIMIT,
        metavar="N",
        help=f"default: $AGENTGAUGE_SERIES_LIMIT, else {SERIES_LIMIT}",
    )
    sources.add_argument(
        "--label-limit",
        type=arguments.label_limit,
        action="append",
        metavar="[[KIND.]LABEL=]N",
        help=f"values of one label, such as 500, gen_ai_agent_name=50 or tool.gen_ai_agent_name=20; "
        f"can be repeated; default: {VALUES_A_LABEL}",
    )
    sources.add_argument(
        "--idle-limit",
        type=arguments.duration,
        default=IDLE_SECONDS,
        metavar="TIME",
        help="a run that nothing is heard of for this long is abandoned; default: 1h",
    )
    sources.add_argument(
        "--prices",
        type=Path,
        default=arguments.file("AGENTGAUGE_PRICES"),
        metavar="FILE",
        help="YAML of negotiated prices, see docs/prices.md (default: $AGENTGAUGE_PRICES)",
    )
    sources.add_argument(
        "--litellm-prices",
        type=Path,
        default=arguments.file("AGENTGAUGE_LITELLM_PRICES"),
        metavar="FILE",
        help="table for models that no list has, in LiteLLM's format (default: $AGENTGAUGE_LITELLM_PRICES)",
    )

    calendar = argparse.ArgumentParser(add_help=False)
    calendar.add_argument(
        "--zone",
        type=arguments.zone,
        default=os.environ.get("AGENTGAUGE_ZONE", ""),
        metavar="ZONE",
        help="whose calendar days the ledger is kept by, such as Europe/Berlin (default: $AGENTGAUGE_ZONE, else UTC)",
    )
    budgets = argparse.ArgumentParser(add_help=False)
    budgets.add_argument(
        "--budgets",
        type=Path,
        default=arguments.file("AGENTGAUGE_BUDGETS"),
        metavar="FILE",
        help="YAML of what may be spent, see docs/budgets.md (default: $AGENTGAUGE_BUDGETS)",
    )
    objectives = argparse.ArgumentParser(add_help=False)
    objectives.add_argument(
        "--objectives",
        type=Path,
        default=arguments.file("AGENTGAUGE_OBJECTIVES"),
        metavar="FILE",
        help="YAML of what agents' runs should achieve, see docs/objectives.md (default: $AGENTGAUGE_OBJECTIVES)",
    )

    command = commands.add_parser(
        "serve", parents=[sources, calendar, budgets, objectives], help="follow the stores and answer /metrics"
    )
    command.add_argument("--listen", default="127.0.0.1:9464", metavar="HOST:PORT", help="default: %(default)s")
    command.add_argument(
        "--state", type=Path, default=arguments.state_home(), metavar="DIR", help="default: %(default)s"
    )
    command.set_defaults(run=_serve)
    command = commands.add_parser(
        "once", parents=[sources, calendar, budgets, objectives], help="read the stores to their end, print the page"
    )
    command.set_defaults(run=_once)
    command = commands.add_parser("check", parents=[sources], help="read the stores and say what is in them")
    command.set_defaults(run=_check)
    command = commands.add_parser(
        "backfill", parents=[sources], help="write the stores' past for Prometheus, at the spans' own times"
    )
    target = command.add_mutually_exclusive_group(required=True)
    target.add_argument("--into", type=Path, metavar="TSDB_DIR", help="Prometheus' data directory; needs promtool")
    target.add_argument("--openmetrics", type=Path, metavar="DIR", help="files for promtool, one a block")
    command.add_argument(
        "--label",
        type=arguments.label,
        action="append",
        metavar="NAME=VALUE",
        help="as the scrape sets them, so that past and present are one curve; default: job=agentgauge",
    )
    command.add_argument(
        "--from",
        type=arguments.moment,
        default=0.0,
        dest="since",
        metavar="TIME",
        help="a date such as 2026-11-01, or how long ago, such as 30d; default: the beginning",
    )
    command.add_argument(
        "--to",
        type=arguments.moment,
        default=math.inf,
        dest="until",
        metavar="TIME",
        help="as --from: when Prometheus began to scrape the exporter, if it did; default: the end",
    )
    command.add_argument("--step", type=arguments.duration, metavar="TIME", help="default: 5m, finer in the last day")
    command.set_defaults(run=_backfill)
    command = commands.add_parser("ledger", help="print what was spent by day, agent, model and source")
    command.add_argument(
        "--state", type=Path, default=arguments.state_home(), metavar="DIR", help="default: %(default)s"
    )
    command.add_argument("--by", choices=("day", "month"), default="day", help="default: %(default)s")
    form = command.add_mutually_exclusive_group()
    form.add_argument("--csv", action="store_const", dest="form", const="csv", help="for a spreadsheet")
    form.add_argument("--json", action="store_const", dest="form", const="json", help="one object a line")
    command.set_defaults(run=_ledger, form="table")
    command = commands.add_parser("budgets", parents=[budgets], help="print how each budget stands")
    command.add_argument(
        "--state", type=Path, default=arguments.state_home(), metavar="DIR", help="default: %(default)s"
    )
    command.set_defaults(run=_budgets)
    command = commands.add_parser(
        "reconcile",
        help="hold the totals of days that are over against the stores' own; exit code 1 when they disagree",
    )
    command.add_argument(
        "sources", nargs="*", metavar="SOURCE_URL", help="as they are served (default: $TRACE_SOURCES)"
    )
    command.add_argument(
        "--state", type=Path, default=arguments.state_home(), metavar="DIR", help="default: %(default)s"
    )
    command.set_defaults(run=_reconcile)
    command = commands.add_parser("demo", help="write lifelike traces")
    demo.add_arguments(command)
    command.set_defaults(run=demo.command)
    return parser


if __name__ == "__main__":
    sys.exit(main())
