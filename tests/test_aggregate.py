"""Totals: label values are cleaned, the budget holds, and what is committed comes back."""

import tracemalloc
from random import Random

import msgspec
import pytest
from createagents_lines import Exporter, line

from exporters.aggregate import OTHER, SERIES_A_SPAN, SERIES_OF_OTHERS, Aggregate, series_of
from exporters.catalogue.metrics import METRICS
from exporters.catalogue.model import KIND_LABELS, LABELS
from exporters.feed import PLANS
from exporters.labels import VALUE_BYTES
from exporters.span import ERROR_TYPES, Span

NOW = 1765029600.0


def call(agent: str = "Scout", **fields: object) -> Span:
    return Span("inference", True, "t", "s", time=NOW, agent=agent, operation="chat", **{"duration": 1.0, **fields})


def totals() -> Aggregate:
    return Aggregate(lambda: NOW)


def value(aggregate: Aggregate, name: str, own: str = "", **labels: str) -> float | None:
    """A counter's value, or a histogram's sum, over the cells that carry these labels; None when there is none."""
    found = []
    for (kind, source, values), cell in aggregate.cells.items():
        plan = PLANS[kind]
        carried = {"source": source, **dict(zip(plan.labels, values, strict=True))}
        for metric, children in zip(plan.metrics, cell.children, strict=True):
            if metric.name == name and own in children and labels.items() <= carried.items():
                child = children[own]
                found.append(child.value if metric.type == "counter" else child.sum)
    return sum(found) if found else None


def agents(aggregate: Aggregate) -> set[str]:
    place = PLANS["inference"].labels.index("gen_ai_agent_name")
    return {values[place] for kind, _, values in aggregate.cells if kind == "inference"}


def counted(aggregate: Aggregate) -> int:
    """The series that there really are, one by one."""
    return sum(
        len(children) * series_of(metric)
        for cell in aggregate.cells.values()
        for metric, children in zip(PLANS[cell.key[0]].metrics, cell.children, strict=True)
    )


# What a span feeds.


def test_a_model_call_feeds_every_metric_of_its_kind_and_no_other():
    aggregate = totals()
    aggregate.add(
        "s",
        [
            call(
                duration=3.0, time_to_first_chunk=0.5, input_tokens=100, output_tokens=20, cache_read_tokens=60,
                cache_write_tokens=10, reasoning_tokens=5, cost=0.25, cost_source="reported",
                cache_saving=0.125, cache_surcharge=0.0625,
            )
        ],
    )  # fmt: skip
    fed = {
        "gen_ai_client_inference_duration_seconds": 3.0,
        "gen_ai_client_inference_time_to_first_chunk_seconds": 0.5,
        "gen_ai_client_inference_usage_input_tokens": 100,
        "gen_ai_client_inference_usage_output_tokens": 20,
        "gen_ai_client_inference_usage_cache_read_input_tokens": 60,
        "gen_ai_client_inference_usage_cache_write_input_tokens": 10,
        "gen_ai_client_inference_usage_reasoning_output_tokens": 5,
        "agentgauge_cache_savings_usd": 0.125,
        "agentgauge_cache_surcharge_usd": 0.0625,
        "gen_ai_client_inference_operation_input_tokens": 100,
        "gen_ai_client_inference_operation_output_tokens": 20,
    }
    for metric in METRICS:
        assert value(aggregate, metric.name) == fed.get(metric.name), metric.name
    assert value(aggregate, "agentgauge_cost_usd", "reported") == 0.25
    assert value(aggregate, "agentgauge_inference_calls", "ok") == 1
    assert value(aggregate, "agentgauge_inference_calls", "error") == 0


@pytest.mark.parametrize(
    ("number", "bucket"), [(0.0, 0), (0.01, 0), (0.010001, 1), (0.02, 1), (655.36, 16), (655.37, 17), (1e12, 17)]
)
def test_an_observation_falls_into_the_first_bucket_whose_bound_it_does_not_exceed(number, bucket):
    aggregate = totals()
    aggregate.add("s", [call(duration=number)])
    [cell] = [cell for cell in aggregate.cells.values() if cell.key[0] == "inference"]
    assert [place for place, count in enumerate(cell.children[0][""].counts) if count] == [bucket]


def test_unknown_is_not_zero_a_counter_that_was_never_fed_has_no_series():
    aggregate = totals()
    aggregate.add("s", [call(duration=None)])
    [cell] = aggregate.cells.values()
    there = {
        metric.name for metric, children in zip(PLANS["inference"].metrics, cell.children, strict=True) if children
    }
    assert there == {"agentgauge_inference_calls"}
    aggregate.add("s", [call(duration=None, input_tokens=0)])
    assert value(aggregate, "gen_ai_client_inference_usage_input_tokens") == 0
    assert value(aggregate, "gen_ai_client_inference_usage_output_tokens") is None


def test_both_outcomes_exist_from_the_first_span_on():
    aggregate = totals()
    aggregate.add("s", [Span("run", True, "t", "r", error="timeout"), Span("tool", True, "t", "c")])
    assert (value(aggregate, "agentgauge_runs", "ok"), value(aggregate, "agentgauge_runs", "error")) == (0, 1)
    assert (value(aggregate, "agentgauge_tool_calls", "ok"), value(aggregate, "agentgauge_tool_calls", "error")) == (
        1,
        0,
    )


def test_usage_without_a_call_feeds_the_sums_and_nothing_else():
    aggregate = totals()
    aggregate.add("s", [call(usage_only=True, input_tokens=7, cost=0.5, cost_source="reported")])
    assert value(aggregate, "gen_ai_client_inference_usage_input_tokens") == 7
    assert value(aggregate, "agentgauge_cost_usd", "reported") == 0.5
    assert value(aggregate, "agentgauge_inference_calls", "ok") == 0
    assert value(aggregate, "gen_ai_client_inference_duration_seconds") is None
    assert value(aggregate, "gen_ai_client_inference_operation_input_tokens") is None


def test_every_label_of_a_kind_is_read_from_the_field_that_the_catalogue_names():
    for kind in ("inference", "tool", "run"):
        aggregate = totals()
        fields = {LABELS[label]: f"its {label}" for label in KIND_LABELS[kind] if LABELS[label]}
        aggregate.add("s", [Span(kind, True, "t", "s", **fields)])
        [(_, _, values)] = aggregate.cells
        assert values == tuple(f"its {label}" for label in KIND_LABELS[kind] if LABELS[label])


# Label values.


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("Scout", "Scout"),
        ("  Scout\t", "Scout"),
        ("a\nb\r\nc", "a b  c"),
        ("a\0b\x1bc\x7fd\x85e\x9ff", "a b c d e f"),
        ("a\u2028b\u2029c", "a b c"),
        ("Notícias 日本 🙂", "Notícias 日本 🙂"),
        ("a\ud800b", "a?b"),
        ("\ud800", "?"),
        ("x" * 1000, "x" * VALUE_BYTES),
        # Cut between characters, never within one: 85 of three bytes are 255.
        ("日" * 300, "日" * 85),
        ("🙂" * 300, "🙂" * 64),
        ("x" * 250 + "      and more", "x" * 250),
        ('"}\\n{', '"}\\n{'),
        (" \t\n", ""),
        # A name that turns the text around it, or hides letters, would pass for another.
        ("ad\u202enim\u202c", "adnim"),
        ("\u2066admin\u2069 \u200b\u200e\ufeff", "admin"),
        ("a\U000e0041\U000e0042", "a"),
        # But joiners are part of words and signs.
        ("\u0645\u06cc\u200c\u062e \U0001f469\u200d\U0001f527", "\u0645\u06cc\u200c\u062e \U0001f469\u200d\U0001f527"),
    ],
)
def test_a_label_value_is_utf_8_without_control_characters_of_at_most_256_bytes(written, shown):
    aggregate = totals()
    aggregate.add("s", [call(written), call(written)])
    assert agents(aggregate) == {shown}
    assert value(aggregate, "agentgauge_inference_calls", "ok") == 2


def test_values_that_become_the_same_are_one_cell():
    aggregate = totals()
    aggregate.add("s", [call("Scout"), call(" Scout"), call("Scout\n"), call("x" * 256 + "1"), call("x" * 256 + "2")])
    assert agents(aggregate) == {"Scout", "x" * 256}
    assert value(aggregate, "agentgauge_inference_calls", "ok", gen_ai_agent_name="Scout") == 3


def test_long_names_are_not_kept_however_many_there_are():
    aggregate = totals()
    aggregate.add("s", [call("x" * 256)])
    tracemalloc.start()
    try:
        for number in range(100):
            aggregate.add("s", [call("x" * 100_000 + str(number), duration=None)])
        assert tracemalloc.get_traced_memory()[0] < 1 << 20
    finally:
        tracemalloc.stop()


# The budget.


def test_past_the_budget_of_a_label_its_values_are_other_and_the_rest_of_the_labels_stays():
    aggregate = Aggregate(lambda: NOW, values_a_label=3)
    aggregate.add("s", [call(f"agent {number}", model="gpt-4o") for number in range(5)] + [call("agent 1")])
    assert agents(aggregate) == {"agent 0", "agent 1", "agent 2", OTHER}
    other = {"gen_ai_agent_name": OTHER, "gen_ai_request_model": "gpt-4o"}
    assert value(aggregate, "agentgauge_inference_calls", "ok", **other) == 2
    assert value(aggregate, "agentgauge_label_overflow", "gen_ai_agent_name") == 2
    assert value(aggregate, "agentgauge_label_overflow", "gen_ai_request_model") is None


def test_a_value_that_is_known_stays_itself_past_the_budget_also_after_a_restart():
    aggregate = Aggregate(lambda: NOW, values_a_label=2)
    aggregate.add("s", [call("a"), call("b"), call("c")])
    again = Aggregate(lambda: NOW, values_a_label=2)
    again.restore(aggregate.blobs())
    again.add("s", [call("a"), call("d")])
    assert agents(again) == {"a", "b", OTHER}
    assert value(again, "agentgauge_inference_calls", "ok", gen_ai_agent_name="a") == 2
    assert value(again, "agentgauge_inference_calls", "ok", gen_ai_agent_name=OTHER) == 2
    assert value(again, "agentgauge_label_overflow", "gen_ai_agent_name") == 2


def test_agent_names_without_end_take_no_more_series_and_memory_than_a_few_hundred():
    aggregate = totals()

    def read(begin: int, end: int) -> None:
        for number in range(begin, end, 1000):
            aggregate.add("s", [call(f"agent {number + n}", input_tokens=3) for n in range(1000)])

    read(0, 10_000)
    series, found = aggregate.series, len(aggregate.cells)
    assert series == counted(aggregate) <= aggregate.series_limit
    read(10_000, 50_000)
    tracemalloc.start()
    try:
        read(50_000, 53_000)
        assert tracemalloc.get_traced_memory()[0] < 50_000
    finally:
        tracemalloc.stop()
    assert (aggregate.series, len(aggregate.cells)) == (series, found)
    assert value(aggregate, "agentgauge_inference_calls", "ok") == 53_000
    names = len(agents(aggregate)) - 1
    assert value(aggregate, "agentgauge_label_overflow", "gen_ai_agent_name") == 53_000 - names


def test_past_the_budget_of_series_every_label_is_other_and_nothing_is_lost():
    aggregate = Aggregate(lambda: NOW, series_limit=500)
    spans = [call(f"a{n}", model=f"m{n}", input_tokens=1) for n in range(100)]
    spans += [Span("tool", True, "t", f"c{n}", agent=f"a{n}", tool=f"t{n}", duration=1.0) for n in range(100)]
    aggregate.add("s", spans)
    assert OTHER in agents(aggregate)
    assert value(aggregate, "agentgauge_inference_calls", "ok") == 100
    assert value(aggregate, "gen_ai_client_inference_usage_input_tokens") == 100
    assert value(aggregate, "agentgauge_tool_calls", "ok") == 100
    assert aggregate.series == counted(aggregate)
    # Only what is told apart by nothing but the kind may stand past the room for names.
    others = [cell for cell in aggregate.cells.values() if set(cell.key[2]) <= {"", OTHER}]
    inside = aggregate.series - sum(
        len(children) * series_of(metric)
        for cell in others
        for metric, children in zip(PLANS[cell.key[0]].metrics, cell.children, strict=True)
    )
    assert inside <= aggregate.room + SERIES_A_SPAN
    assert aggregate.series <= 500 + SERIES_A_SPAN
    assert len(others) == 3


def test_an_incident_with_every_type_of_error_everywhere_stays_within_the_limit():
    """Cells that fill the budget while all is well must not grow twelvefold when all goes wrong."""
    aggregate = Aggregate(lambda: NOW, series_limit=2000)
    fine = [call(f"a{n}", input_tokens=1) for n in range(200)]
    aggregate.add("s", fine)
    assert aggregate.series > aggregate.room > 1500
    failed = [call(f"a{n}", error=error) for n in range(200) for error in ERROR_TYPES]
    aggregate.add("s", failed)
    assert aggregate.series == counted(aggregate) <= 2000
    assert value(aggregate, "agentgauge_inference_calls", "error") == 200 * 12
    errors = [value(aggregate, "agentgauge_inference_errors", error) or 0 for error in ERROR_TYPES]
    assert sum(errors) == 200 * 12
    # Types of errors that there was no series for are of the type that all else is.
    assert errors[-1] > 200
    assert value(aggregate, "agentgauge_label_overflow", "series") > 500


def everything(number: int) -> list[Span]:
    """Spans that make every series there is, with names that no others have."""
    agent, error = f"a{number % 997}", ("", *ERROR_TYPES)[number % 13]
    names = {"agent": agent, "environment": f"e{number % 3}" if number % 4 else "", "time": NOW}
    taken = {
        "input_tokens": 9, "output_tokens": 9, "cache_read_tokens": 1, "cache_write_tokens": 1, "reasoning_tokens": 1,
        "unsplit_tokens": 1, "cache_saving": 1.0, "cache_surcharge": 1.0, "time_to_first_chunk": 1.0,
        "without_usage": True, "prompt": f"q{number % 101}",
        "prompt_version": str(number % 3),
    }  # fmt: skip
    reasons = ("no_usage", "no_split", "no_model", "unknown_model", "not_by_token", "invalid_usage")
    return [
        Span(
            "inference", True, "t", "s", operation=("chat", "embeddings")[number % 2], provider=f"p{number % 7}",
            model=f"m{number % 31}", duration=1.0, error=error, cost=1.0,
            cost_source=("reported", "computed", "override")[number % 3], unpriced=reasons[number % 6],
            invalid_usage=("cache_exceeds_input", "reasoning_exceeds_output")[number % 2], **taken, **names,
        ),
        Span("inference", True, "t", "u", model=f"n{number % 31}", usage_only=True, cost=1.0, cost_source="reported"),
        Span("tool", True, "t", "c", tool=f"t{number % 53}", duration=1.0, error=error, **names),
        Span(
            "run", True, "t", "r", agent_version=f"v{number % 5}", duration=1.0, error=error, inference_calls=1,
            tool_calls=1, total_tokens=1, cost=1.0, without_usage=True, **names,
        ),
        Span("score", True, "t", "q", score=0.5, score_name=f"s{number % 11}", **names),
    ]  # fmt: skip


@pytest.mark.parametrize(("limit", "sources"), [(10_000, 1), (10_000, 5), (1_000, 1)])
def test_the_limit_of_series_is_hard_whatever_the_mix(limit, sources):
    aggregate = Aggregate(lambda: NOW, series_limit=limit)
    aggregate.share(sources)
    names = [f"source {number}" for number in range(sources)]
    # All is well and says little, for long enough to fill the budget with cells that can still grow.
    for number in range(limit):
        fine = call(f"a{number % 197}", model=f"m{number % 151}", duration=None)
        aggregate.add(names[number % sources], [fine])
    assert aggregate.series > aggregate.room
    for number in range(3000):
        source = names[number % sources]
        aggregate.add(source, everything(number))
        aggregate.count(source, "agentgauge_bad_records", f"reason {number % 16}")
        aggregate.count(source, "agentgauge_spans", ("inference", "tool", "run", "score")[number % 4])
        aggregate.count(source, "agentgauge_records")
        aggregate.count(source, "agentgauge_repeated_spans")
    assert aggregate.series == counted(aggregate) <= limit
    assert value(aggregate, "agentgauge_inference_calls", "ok") == limit + 231
    assert value(aggregate, "agentgauge_inference_calls", "error") == 3000 - 231
    assert value(aggregate, "gen_ai_client_inference_usage_input_tokens") == 3000 * 9
    assert sum(value(aggregate, "agentgauge_cost_usd", kind) for kind in ("reported", "computed", "override")) == 6000
    for kind in ("tool_calls", "runs"):
        assert value(aggregate, f"agentgauge_{kind}", "ok") + value(aggregate, f"agentgauge_{kind}", "error") == 3000


def test_a_limit_too_small_for_what_becomes_other_is_exceeded_by_no_more_than_that():
    aggregate = Aggregate(lambda: NOW, series_limit=100)
    for number in range(500):
        aggregate.add("s", everything(number))
    assert aggregate.series == counted(aggregate) <= 50 + SERIES_A_SPAN + SERIES_OF_OTHERS


def test_a_label_has_the_budget_that_it_is_given_and_so_has_one_of_a_kind_of_spans():
    limits = {"gen_ai_agent_name": 2, "tool.gen_ai_agent_name": 1, "gen_ai_request_model": 4}
    aggregate = Aggregate(lambda: NOW, values_a_label=3, label_limits=limits)
    names = [f"n{number}" for number in range(9)]
    aggregate.add("s", [call("a", model=name, provider=name) for name in names])
    aggregate.add("s", [call(name) for name in names])
    aggregate.add("s", [Span("tool", True, "t", "c", agent=name, tool=name) for name in names])
    aggregate.add("s", [Span("run", True, "t", "r", agent=name) for name in names])

    def values(kind: str, label: str) -> int:
        place = PLANS[kind].labels.index(label)
        return len({key[2][place] for key in aggregate.cells if key[0] == kind} - {"", OTHER})

    assert values("inference", "gen_ai_request_model") == 4
    assert values("inference", "gen_ai_provider_name") == 3
    assert values("inference", "gen_ai_agent_name") == 2
    assert values("run", "gen_ai_agent_name") == 2
    assert values("tool", "gen_ai_agent_name") == 1
    assert values("tool", "gen_ai_tool_name") == 3
    assert value(aggregate, "agentgauge_label_overflow", "gen_ai_tool_name") == 6


def test_sources_are_told_apart_and_share_the_budget():
    aggregate = Aggregate(lambda: NOW, values_a_label=2)
    aggregate.add("one", [call("a")])
    aggregate.add("two", [call("a"), call("b"), call("c")])
    assert value(aggregate, "agentgauge_inference_calls", "ok", source="one") == 1
    assert value(aggregate, "agentgauge_inference_calls", "ok", source="two") == 3
    assert value(aggregate, "agentgauge_label_overflow", "gen_ai_agent_name", source="one") is None
    assert value(aggregate, "agentgauge_label_overflow", "gen_ai_agent_name", source="two") == 1


# Births, commits and what is committed.


def test_a_series_is_a_birth_only_after_its_source_was_caught_up():
    aggregate = totals()
    aggregate.add("s", [call("a")])
    assert aggregate.born == 0
    aggregate.catch_up("s")
    aggregate.add("s", [call("b")])
    aggregate.add("other", [call("c")])
    # Both outcomes and the duration: b's three are births, c's are of a source that is not shown.
    assert aggregate.born == 3
    born = {
        agent: [child.born for children in cell.children for child in children.values()]
        for (_, _, (*_, agent)), cell in aggregate.cells.items()
    }
    assert born == {"a": [0, 0, 0], "b": [3, 1, 2], "c": [0, 0, 0]}


def test_totals_births_and_start_times_come_back_as_they_were_committed():
    clock = [NOW]
    aggregate = Aggregate(lambda: clock[0])
    aggregate.catch_up("s")
    aggregate.add("s", [call("a", input_tokens=3, cost=0.1, cost_source="computed", error="timeout")])
    aggregate.count("s", "agentgauge_bad_records", "json", 2)
    blobs = aggregate.blobs()
    clock[0] += 1000
    again = Aggregate(lambda: clock[0])
    again.restore(blobs)
    assert again.series == aggregate.series == counted(again)
    assert again.born == aggregate.born
    for key, cell in aggregate.cells.items():
        assert again.cells[key].children == cell.children
    assert value(again, "agentgauge_bad_records", "json") == 2
    again.add("s", [call("a", input_tokens=3)])
    assert value(again, "gen_ai_client_inference_usage_input_tokens") == 6


def test_a_rollback_goes_back_to_the_last_commit_and_forgets_cells_that_are_not_in_it():
    aggregate = totals()
    aggregate.add("s", [call("a")])
    aggregate.committed(aggregate.blobs())
    series = aggregate.series
    aggregate.add("s", [call("a"), call("b")])
    aggregate.restore()
    assert agents(aggregate) == {"a"}
    assert value(aggregate, "agentgauge_inference_calls", "ok") == 1
    assert (aggregate.series, aggregate.changed) == (series, set())
    aggregate.add("s", [call("b")])
    assert value(aggregate, "agentgauge_inference_calls", "ok") == 2


def test_a_source_that_was_caught_up_in_a_commit_that_failed_is_not():
    """Else the page would show the totals of a half-read backlog, and its rest as a burst."""
    aggregate = totals()
    aggregate.add("s", [call("a")])
    aggregate.committed(aggregate.blobs())
    aggregate.catch_up("s")
    aggregate.restore()
    assert aggregate.caught_up == set()
    aggregate.catch_up("s")
    aggregate.committed(aggregate.blobs())
    aggregate.restore()
    assert aggregate.caught_up == {"s"}


def test_only_cells_that_changed_are_written_again():
    aggregate = totals()
    aggregate.add("s", [call("a"), call("b")])
    aggregate.committed(aggregate.blobs())
    assert aggregate.blobs() == []
    aggregate.add("s", [call("b")])
    assert [key[2][-1] for key, _ in aggregate.blobs()] == ["b"]


def test_spans_that_are_counted_together_make_the_totals_that_each_alone_makes(monkeypatch: pytest.MonkeyPatch):
    def spans() -> list[Span]:
        random = Random(7)

        def maybe(value: object) -> object:
            return value if random.random() < 0.7 else None

        found = []
        for number in range(300):
            fields = {field: maybe(random.random() * 5000) for field in numbers}
            error, unpriced = random.choice(["", "", "timeout"]), random.choice(["", "no_model"])
            found.append(
                Span(
                    random.choice(kinds), True, "t", f"s{number}", time=NOW, agent=random.choice("ab"), error=error,
                    unpriced=unpriced, invalid_usage=random.choice(["", "cache_exceeds_input"]),
                    cost_source=random.choice(["reported", "computed"]), usage_only=random.random() < 0.1,
                    prompt=random.choice(["", "p"]), **fields,
                )
            )  # fmt: skip
        return found

    kinds = [kind for kind in PLANS if kind not in ("source", "prompt")]
    numbers = sorted({metric.field for metric in METRICS if metric.field and metric.of != "source"})
    together, alone = totals(), totals()
    together.add("s", spans())
    # As if there were no room for more series: then each span is looked at by itself.
    monkeypatch.setattr("exporters.aggregate.SERIES_OF_OTHERS", alone.room)
    alone.add("s", spans())
    assert len(numbers) > 15
    both = [{key: msgspec.msgpack.decode(blob) for key, blob in each.blobs()} for each in (together, alone)]
    assert both[0] == both[1]
    newest = [
        {key: [{own: [s and s.span_id for s in row] for own, row in e.items()} for e in cell.exemplars]}
        for each in (together, alone)
        for key, cell in sorted(each.cells.items())
    ]
    assert newest[: len(newest) // 2] == newest[len(newest) // 2 :]


def test_totals_of_metrics_that_are_no_longer_known_are_left_out_and_the_others_kept():
    aggregate = totals()
    aggregate.add("s", [call("a", input_tokens=3)])
    [(key, blob)] = aggregate.blobs()
    name = b"gen_ai_client_inference_usage_input_tokens"
    again = totals()
    again.restore([(key, blob.replace(name, name.replace(b"usage", b"xsage")))])
    assert value(again, "gen_ai_client_inference_usage_input_tokens") is None
    assert value(again, "agentgauge_inference_calls", "ok") == 1


def test_a_total_that_cannot_be_read_is_told_and_changes_nothing():
    aggregate = totals()
    aggregate.add("s", [call("a")])
    [(key, blob)] = aggregate.blobs()
    aggregate.committed([(key, blob)])
    with pytest.raises(ValueError, match="cannot be read"):
        aggregate.restore([(key, blob[:-3])])
    assert value(aggregate, "agentgauge_inference_calls", "ok") == 1


def test_a_name_that_says_other_is_an_agent_like_any_other():
    exporter = Exporter()
    exporter.read(line("llm.response", 1, "c", agent_name=OTHER))
    assert exporter.samples("agentgauge_inference_calls_total", "gen_ai_agent_name", "outcome") == {
        (OTHER, "ok"): 1,
        (OTHER, "error"): 0,
    }
    assert exporter.total("agentgauge_label_overflow_total") is None
