"""The page: two formats, what it is next to prometheus_client's, and what a real Prometheus makes of it."""

import json
import math
import socket
import subprocess
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from createagents_lines import Exporter, line
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics_of
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families as text_families
from serving import serving, url_of
from serving import until as awaited
from whole_stack import Prometheus

from exporters.aggregate import Aggregate
from exporters.catalogue.metrics import METRICS
from exporters.exposition import OPENMETRICS, TEXT, negotiate, page
from exporters.health import Health
from exporters.span import Span

NOW = 1765029600.0
SPANS = [
    Span("inference", True, "trace-1", "call-1", time=NOW, agent="Scout", model="gpt-4o", provider="openai",
         operation="chat", duration=0.5, time_to_first_chunk=0.25, input_tokens=100, output_tokens=7, cost=0.001,
         cost_source="computed"),
    Span("inference", True, "trace-1", "call-2", time=NOW + 1, agent="Scout", model="gpt-4o", provider="openai",
         operation="chat", duration=700.0, input_tokens=5, output_tokens=0, error="timeout", unpriced="no_model"),
    Span("inference", True, "trace-2", "call-3", time=NOW + 2, agent='A "quoted" \\ name', duration=0.64,
         without_usage=True, cost=0.5, cost_source="reported", environment="prod"),
    Span("tool", True, "trace-1", "tool-1", time=NOW + 3, agent="Scout", tool="search", duration=0.02),
    Span("tool", True, "trace-1", "tool-2", time=NOW + 4, agent="Scout", tool="search", duration=3.0, error="_OTHER"),
    Span("run", True, "trace-1", "run-1", time=NOW + 5, agent="Scout", duration=9.5, inference_calls=2, tool_calls=2,
         cost=0.001, total_tokens=112),
    Span("run", True, "trace-2", "run-2", time=NOW + 6, agent="Scout", error="abandoned", inference_calls=0,
         tool_calls=0, cost=0.0, total_tokens=0),
]  # fmt: skip


def counted(spans: Sequence[Span] = SPANS) -> Aggregate:
    aggregate = Aggregate(lambda: NOW)
    aggregate.add("s", spans)
    aggregate.catch_up("s")
    return aggregate


def rendered(aggregate: Aggregate, *, openmetrics: bool = True, created: bool = False, seen: int | None = None) -> str:
    registry = CollectorRegistry()
    return page(aggregate, registry, openmetrics=openmetrics, created=created, seen=seen).decode()


# Which format.

PROMETHEUS_2_42 = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
PROMETHEUS_3_NATIVE_HISTOGRAMS = (
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,"
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,"
    "application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,"
    "text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
)


@pytest.mark.parametrize(
    ("accept", "answer"),
    [
        (PROMETHEUS_2_42, OPENMETRICS),
        (PROMETHEUS_3, OPENMETRICS),
        (PROMETHEUS_3_NATIVE_HISTOGRAMS, OPENMETRICS),
        ("", TEXT),
        ("*/*", TEXT),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", TEXT),
        ("text/plain", TEXT),
        ("text/plain;version=0.0.4", TEXT),
        ("application/openmetrics-text", OPENMETRICS),
        ("Application/OpenMetrics-Text; Version=1.0.0", OPENMETRICS),
        ('application/openmetrics-text; version="1.0.0"', OPENMETRICS),
        ("application/openmetrics-text;version=0.0.1", OPENMETRICS),
        ("application/openmetrics-text;version=2.0.0", TEXT),
        ("application/openmetrics-text;version=2.0.0,application/openmetrics-text;version=1.0.0;q=0.5", OPENMETRICS),
        ("application/openmetrics-text;q=0", TEXT),
        ("application/openmetrics-text;Q=0.2,text/plain;q=0.9", TEXT),
        ("application/openmetrics-text;q=0.9,text/plain;q=0.2", OPENMETRICS),
        ("application/openmetrics-text;q=nonsense", TEXT),
        ("application/openmetrics-text;q=nan", TEXT),
        (",;,;=;q=,", TEXT),
        ("application/json", TEXT),
    ],
)
def test_who_asks_for_openmetrics_gets_it_and_everybody_else_text(accept, answer):
    assert negotiate(accept) == answer


def test_the_text_page_names_counters_as_their_series_and_has_no_exemplars():
    text = rendered(counted(), openmetrics=False)
    assert "# TYPE agentgauge_runs_total counter\n" in text
    assert "# EOF" not in text
    assert "trace-1" not in text
    samples = {sample.name for family in text_families(text) for sample in family.samples}
    assert "agentgauge_runs_total" in samples
    assert not any(name.endswith("_created") for name in samples)


def test_the_openmetrics_page_ends_with_eof_and_nothing_after_it():
    text = rendered(counted())
    assert text.endswith("\n# EOF\n")
    assert text.count("# EOF") == 1


@pytest.mark.parametrize("openmetrics", [False, True])
def test_each_family_is_described_once_and_its_samples_stand_together(openmetrics):
    text = rendered(counted(), openmetrics=openmetrics)
    described = [part.split(" ")[2] for part in text.splitlines() if part.startswith("# TYPE")]
    assert len(described) == len(set(described))
    assert described == [part.split(" ")[2] for part in text.splitlines() if part.startswith("# HELP")]
    order = [metric.name for metric in METRICS]
    places = [order.index(name if name in order else name.removesuffix("_total")) for name in described]
    assert places == sorted(places)


def test_a_family_without_a_sample_is_not_described():
    text = rendered(counted(SPANS[3:4]))
    assert "gen_ai_execute_tool_duration_seconds" in text
    assert "gen_ai_client_inference" not in text
    assert rendered(Aggregate(lambda: NOW)) == "# EOF\n"


def test_a_source_whose_backlog_is_being_read_is_not_on_the_page():
    aggregate = counted()
    aggregate.add("late", SPANS)
    assert "late" not in rendered(aggregate)
    assert 'source="s"' in rendered(aggregate)


# What the page says, against prometheus_client, which is told of the spans one by one.


def by_hand(spans: Sequence[Span]) -> CollectorRegistry:
    """Count spans with prometheus_client, metric by metric as the catalogue describes them in words."""
    registry = CollectorRegistry()
    labels = {
        "inference": {
            "deployment_environment_name": "environment", "gen_ai_operation_name": "operation",
            "gen_ai_provider_name": "provider", "gen_ai_request_model": "model", "gen_ai_agent_name": "agent",
        },
        "tool": {
            "deployment_environment_name": "environment", "gen_ai_tool_name": "tool", "gen_ai_agent_name": "agent",
        },
        "run": {
            "deployment_environment_name": "environment", "gen_ai_agent_name": "agent",
            "gen_ai_agent_version": "agent_version",
        },
    }  # fmt: skip
    own_fields = {"error_type": "error", "cost_source": "cost_source", "reason": "unpriced"}
    for metric in METRICS:
        if metric.of not in labels:
            continue
        names = ["source", *labels[metric.of], *([metric.by] if metric.by else [])]
        family: Counter | Histogram
        if metric.type == "counter":
            family = Counter(metric.name, metric.help, names, registry=registry)
        else:
            family = Histogram(metric.name, metric.help, names, buckets=metric.buckets, registry=registry)
        for span in spans:
            if span.kind != metric.of or (metric.only_with and not getattr(span, metric.only_with)):
                continue
            values = ["s", *(getattr(span, field) for field in labels[metric.of].values())]
            outcome = "error" if span.error else "ok"
            for known in metric.values:
                family.labels(*values, known).inc(0)
            if metric.by:
                values.append(outcome if metric.by == "outcome" else getattr(span, own_fields[metric.by]))
            number = getattr(span, metric.field) if metric.field else 1
            if number is None:
                continue
            if isinstance(family, Counter):
                family.labels(*values).inc(float(number))
            else:
                exemplar = {"trace_id": span.trace_id, "span_id": span.span_id} if metric.exemplars else None
                family.labels(*values).observe(number, exemplar)
    return registry


def flat(families: Iterator[Family], *, exemplars: bool) -> dict[tuple[str, tuple[tuple[str, str], ...]], object]:
    """Samples by name and labels without empty ones, and without the moments they began at."""
    found = {}
    for family in families:
        for sample in family.samples:
            if sample.name.endswith("_created"):
                continue
            key = (sample.name, tuple(sorted((name, value) for name, value in sample.labels.items() if value)))
            assert key not in found
            pointer = (sample.exemplar.labels, sample.exemplar.value) if sample.exemplar else None
            found[key] = (sample.value, pointer if exemplars else None)
    return found


def test_the_openmetrics_page_says_what_prometheus_client_says_of_the_same_spans():
    ours = list(openmetrics_families(rendered(counted())))
    oracle = [family for family in openmetrics_families(openmetrics_of(by_hand(SPANS)).decode()) if family.samples]
    assert flat(iter(ours), exemplars=True) == flat(iter(oracle), exemplars=True)
    assert [(family.name, family.type, family.documentation) for family in ours] == [
        (family.name, family.type, family.documentation) for family in oracle
    ]


def test_the_text_page_says_what_prometheus_client_says_of_the_same_spans():
    ours = list(text_families(rendered(counted(), openmetrics=False)))
    oracle = [
        family
        for family in text_families(generate_latest(by_hand(SPANS)).decode())
        if family.samples and not family.name.endswith("_created")
    ]
    assert flat(iter(ours), exemplars=False) == flat(iter(oracle), exemplars=False)
    assert [(family.name, family.type, family.documentation) for family in ours] == [
        (family.name, family.type, family.documentation) for family in oracle
    ]


def test_bounds_are_written_as_floats_as_prometheus_3_writes_them():
    bounds = defaultdict(list)
    for family in openmetrics_families(rendered(counted())):
        for sample in family.samples:
            if sample.name.endswith("_bucket"):
                bounds[family.name].append(sample.labels["le"])
    assert set(bounds["gen_ai_invoke_agent_tool_calls"]) == {
        "1.0", "2.0", "4.0", "8.0", "16.0", "32.0", "64.0", "128.0", "+Inf",
    }  # fmt: skip
    assert bounds["agentgauge_run_tokens"][9:13] == ["262144.0", "1.048576e+06", "4.194304e+06", "1.6777216e+07"]
    assert all("." in bound or bound == "+Inf" for found in bounds.values() for bound in found)
    assert "0.0001" in bounds["agentgauge_run_cost_usd"]


def test_every_duration_histogram_has_an_exemplar_of_the_newest_span_in_each_bucket():
    newer = Span("tool", True, "trace-9", "tool-9", time=NOW + 9, agent="Scout", tool="search", duration=0.019)
    durations = {
        "gen_ai_client_inference_duration_seconds",
        "gen_ai_client_inference_time_to_first_chunk_seconds",
        "gen_ai_execute_tool_duration_seconds",
        "gen_ai_invoke_agent_duration_seconds",
    }
    found = defaultdict(list)
    for family in openmetrics_families(rendered(counted([*SPANS, newer]))):
        for sample in family.samples:
            if sample.exemplar:
                assert sample.name.endswith("_bucket")
                found[family.name].append((sample.labels["le"], sample.exemplar))
    assert found.keys() == durations
    [fast] = [exemplar for le, exemplar in found["gen_ai_execute_tool_duration_seconds"] if le == "0.02"]
    assert (fast.labels, fast.value, float(fast.timestamp)) == (
        {"trace_id": "trace-9", "span_id": "tool-9"}, 0.019, NOW + 9,
    )  # fmt: skip
    assert ("+Inf", 700.0) in [(le, one.value) for le, one in found["gen_ai_client_inference_duration_seconds"]]


@pytest.mark.parametrize(
    "ids",
    [("t" * 64, "s" * 50), ("t\0", "s"), ("t\n", "s"), ("t", "s\x1b[0m"), ("t\u2028", "s"), ("t\ud800", "s")],
    ids=["too long", "nul", "newline", "escape", "separator", "surrogate"],
)
def test_ids_that_do_not_fit_into_an_exemplar_are_left_out_and_the_number_stays(ids):
    span = Span("tool", True, *ids, time=NOW, tool="search", duration=1.0)
    [family] = [
        family
        for family in openmetrics_families(rendered(counted([span])))
        if family.name == "gen_ai_execute_tool_duration_seconds"
    ]
    assert not any(sample.exemplar for sample in family.samples)
    assert [sample.value for sample in family.samples if sample.name.endswith("_count")] == [1.0]


def test_the_moments_at_which_series_began_are_shown_only_when_asked_for():
    aggregate = counted()
    assert "_created" not in rendered(aggregate)
    text = rendered(aggregate, created=True)
    found = [
        (family.name, sample.value)
        for family in openmetrics_families(text)
        for sample in family.samples
        if sample.name.endswith("_created")
    ]
    assert {name for name, _ in found} == {family.name for family in openmetrics_families(text)}
    assert {value for _, value in found} == {NOW}


def test_a_series_that_was_born_after_a_scrape_is_shown_at_zero_first():
    aggregate = counted(SPANS[:1])
    seen = aggregate.born
    aggregate.add("s", SPANS[3:5])
    name = "gen_ai_execute_tool_duration_seconds"
    first = {
        (sample.name, sample.labels.get("error_type"), sample.labels.get("le")): sample.value
        for family in openmetrics_families(rendered(aggregate, seen=seen))
        if family.name == name
        for sample in family.samples
    }
    assert len(first) == 2 * 20
    assert set(first.values()) == {0}
    then = openmetrics_families(rendered(aggregate, seen=aggregate.born))
    assert sum(s.value for family in then for s in family.samples if s.name == f"{name}_count") == 2
    # What was there before is at its value in both.
    before = openmetrics_families(rendered(aggregate, seen=seen))
    assert sum(s.value for f in before for s in f.samples if s.name == "agentgauge_inference_calls_total") == 1


def test_counts_are_whole_numbers_and_buckets_never_fall():
    for family in openmetrics_families(rendered(counted())):
        buckets = defaultdict(list)
        for sample in family.samples:
            if sample.name.endswith(("_bucket", "_count")):
                assert sample.value == math.floor(sample.value)
            if sample.name.endswith("_bucket"):
                rest = tuple(sorted((name, value) for name, value in sample.labels.items() if name != "le"))
                buckets[rest].append((float(sample.labels["le"]), sample.value))
        for found in buckets.values():
            assert found == sorted(found)
            assert [count for _, count in found] == sorted(count for _, count in found)


# Label values that mean harm.

HOSTILE = [
    'a"} 1\nagentgauge_runs_total{source="forged"} 99\n# ',
    "back\\slash",
    "ends in a backslash\\",
    'quote"quote',
    "brace{}brace",
    "comma,equals=,",
    "# EOF",
    "$__all ${agent:raw} {{label}}",
    "<script>alert(1)</script>",
    "\\n is not a newline",
    "tab\tseparated\rreturned",
    "null\0byte",
    "separator\u2028paragraph\u2029",
    "right\u202eto left",
    "日本語 🙂 é é",
    "\ufeffmark",
    "lone \ud800 surrogate",
    "x" * 5000,
]
SHOWN = {
    0: 'a"} 1 agentgauge_runs_total{source="forged"} 99 #',
    10: "tab separated returned",
    11: "null byte",
    12: "separator paragraph",
    13: "rightto left",
    15: "mark",
    16: "lone ? surrogate",
    17: "x" * 256,
}


def test_hostile_label_values_come_through_the_strict_parser_as_one_value_each():
    exporter = Exporter()
    exporter.read(*(line("llm.response", n, f"c{n}", agent_name=name, model=name) for n, name in enumerate(HOSTILE)))
    shown = [SHOWN.get(place, name) for place, name in enumerate(HOSTILE)]
    found = exporter.samples("gen_ai_client_inference_duration_seconds_count", "gen_ai_agent_name")
    assert found == {}
    found = exporter.samples("agentgauge_inference_calls_total", "gen_ai_agent_name", "gen_ai_request_model", "outcome")
    assert found == {(name, name, outcome): outcome == "ok" for name in shown for outcome in ("ok", "error")}
    assert exporter.total("agentgauge_runs_total") is None


# Real programs.


def promtool(text: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False)


def test_promtool_has_no_remark_on_the_page():
    health = Health()
    health.set("agentgauge_source_up", 1, "s")
    health.failed("s")
    health.took("agentgauge_commit_duration_seconds", 0.1)
    aggregate = counted()
    for metric, own in (
        ("agentgauge_records", ""), ("agentgauge_spans", "run"), ("agentgauge_repeated_spans", ""),
        ("agentgauge_bad_records", "json"), ("agentgauge_label_overflow", "gen_ai_agent_name"),
    ):  # fmt: skip
        aggregate.count("s", metric, own)
    text = page(aggregate, health.registry, openmetrics=False).decode()
    found = promtool(text)
    assert (found.stdout, found.stderr, found.returncode) == ("", "", 0)
    # It does find fault where there is one.
    assert promtool(text.replace("agentgauge_runs_total", "agentgauge_runs")).returncode != 0


@pytest.fixture
def prometheus(tmp_path: Path) -> Iterator[tuple[Prometheus, Path]]:
    """A Prometheus that scrapes an exporter over the folder that is returned."""
    folder = tmp_path / "traces"
    folder.mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    lines = [
        line("tool.result", n, f"c{n}", agent_name=name, duration_ms=1000.0 * n, data={"tool_name": name})
        for n, name in enumerate(HOSTILE)
    ]
    # Ids that are no labels, but stand beside the samples.
    lines.append(line("tool.result", 50, "c\0d", agent_name="ids", trace='t"} 1\n', duration_ms=1.0))
    lines.append(line("tool.result", 51, "c},#", agent_name="ids", trace="t{", duration_ms=30.0))
    (folder / "traces_2025-12-06.jsonl").write_bytes(b"".join(record + b"\n" for record in lines))
    with serving(tmp_path / "state", url_of(folder)) as exporter:
        exporter.await_ready()
        configuration = {
            "global": {"scrape_interval": "200ms", "scrape_timeout": "200ms"},
            "scrape_configs": [{"job_name": "agentgauge", "static_configs": [{"targets": [exporter.address]}]}],
        }
        (tmp_path / "prometheus.yml").write_text(json.dumps(configuration))
        command = [
            "prometheus", f"--config.file={tmp_path / 'prometheus.yml'}", f"--storage.tsdb.path={tmp_path / 'data'}",
            f"--web.listen-address={address}", "--enable-feature=exemplar-storage",
        ]  # fmt: skip
        log = tmp_path / "prometheus.log"
        with log.open("w") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
            try:
                yield Prometheus(f"http://{address}"), log
            finally:
                process.terminate()
                process.wait(30)


def test_hostile_label_values_come_through_a_real_prometheus_as_one_value_each(prometheus):
    server, log = prometheus

    def target() -> dict[str, str]:
        try:
            found = server.get("targets", state="active")["activeTargets"]
        except OSError:
            return {}
        return found[0] if found else {}

    # On a busy machine a scrape may take longer than it may here; the next one will not.
    awaited(lambda: target().get("health") == "up", f"Prometheus takes the page, see {log}")
    awaited(lambda: bool(server.get("query", query="agentgauge_tool_calls_total")["result"]), "samples are there")

    result = server.get("query", query='agentgauge_tool_calls_total{outcome="ok"}')["result"]
    found = {
        (one["metric"]["gen_ai_agent_name"], one["metric"]["gen_ai_tool_name"]): float(one["value"][1])
        for one in result
    }
    shown = [SHOWN.get(place, name) for place, name in enumerate(HOSTILE)]
    assert found == {**{(name, name): 1.0 for name in shown}, ("ids", "web_search"): 2.0}
    assert server.get("query", query="agentgauge_runs_total")["result"] == []

    ids = 'gen_ai_execute_tool_duration_seconds_bucket{gen_ai_agent_name="ids"}'
    exemplars = server.get("query_exemplars", query=ids, start="0", end="4102444800")
    assert [exemplar["labels"] for one in exemplars for exemplar in one["exemplars"]] == [
        {"trace_id": "t{", "span_id": "c},#"}
    ]
