"""The exporter and what it reads: does it answer, keep up, and understand its records?"""

from exporters.catalogue.model import Limit, Signal
from exporters.catalogue.signals.parts import QUANTILES, quantiles

EXPORTER = (
    Signal(
        name="exporter_up",
        title="Exporters up",
        unit="none",
        # Without a target that was ever scraped, `up` is no series at all, which is not up either.
        expr='min by (instance) (up{job="agentgauge"} or 0 * absent(up{job="agentgauge"}))',
        means="Whether Prometheus can scrape each exporter. While it cannot, everything else here stands still.",
        by=("instance",),
        view="state",
        over="now",
        decimals=0,
        empty="No exporter is known",
        limits=(
            Limit(
                says="An exporter does not answer Prometheus.",
                headline="An exporter does not answer",
                dashboard="agents-exporter-health",
                below=1.0,
                hold="2m",
                severity="critical",
                do="See whether the exporter runs and answers on /-/healthy, then Prometheus' page of targets for the "
                "reason: refused, timed out, or a page past a limit of the scrape. Nothing is lost while it is down; "
                "it reads on from where it was.",
            ),
        ),
    ),
    Signal(
        name="source_up",
        title="Sources up",
        unit="none",
        expr="min by (source) (agentgauge_source_up{$where})",
        means="Whether the last attempt to read each store succeeded. While it did not, its numbers stand still.",
        by=("source",),
        view="state",
        over="now",
        decimals=0,
        empty="No exporter answers",
        limits=(
            Limit(
                says="A trace store cannot be read.",
                headline="A trace store cannot be read",
                dashboard="agents-exporter-health",
                below=1.0,
                hold="5m",
                severity="critical",
                do="Read the exporter's log for this source: it says what could not be opened and how to mend it. "
                "Nothing is lost meanwhile; it reads on from where it was.",
            ),
        ),
    ),
    Signal(
        name="source_last_success_age",
        title="Time since last read by source",
        unit="s",
        # Of a source that was never read, since the exporter runs; of several exporters, that which began last.
        expr="max by (source) (time() - agentgauge_source_last_success_timestamp_seconds{$where})\n"
        "or max by (source) (0 * agentgauge_source_up{$where})\n"
        '+ on () group_left () (time() - max(process_start_time_seconds{job="agentgauge"}))',
        means="How long ago each store was last read without an error, whether or not there was anything new in it: "
        "seconds, as long as all is well. Of a store that was never read, how long the exporter has been running.",
        by=("source",),
        over="now",
        better="lower",
        empty="No exporter answers",
        limits=(
            Limit(
                says="A trace store has not been read for some time.",
                headline="A store was last read {} ago",
                dashboard="agents-exporter-health",
                # A page of a slow service may take some five minutes, whose time-outs are the longest of all. The
                # hold is for a machine that slept: the time is old at once, and new with the next read.
                above=600.0,
                hold="5m",
                severity="critical",
                do="Try whether the store answers, from the exporter's machine. A read of it has neither failed nor ended, so the "
                "exporter's log may say nothing yet. If the store answers, restart the exporter: nothing is lost, it reads on from "
                "where it was. A clock of either machine that is minutes wrong looks the same.",
            ),
        ),
    ),
    Signal(
        name="sources_down",
        title="Sources down",
        unit="short",
        expr="count(agentgauge_source_up{$where} == 0) or (0 * count(agentgauge_source_up{$where}))",
        means="Stores whose last attempt to be read failed.",
        view="stat",
        over="now",
        decimals=0,
        better="lower",
        empty="Silent",
    ),
    Signal(
        name="source_lag",
        title="Source lag",
        unit="s",
        expr="max(agentgauge_source_lag_seconds{$where})",
        means="How old the newest counted record is while there is more to read, in the source that is furthest "
        "behind; 0 when all is read.",
        view="stat",
        over="now",
        better="lower",
        empty="Silent",
    ),
    Signal(
        name="source_lag_by_source",
        title="Source lag by source",
        unit="s",
        expr="max by (source) (agentgauge_source_lag_seconds{$where})",
        means="How old the newest counted record is while there is more to read; 0 when all is read.",
        by=("source",),
        over="now",
        better="lower",
        empty="No exporter answers",
        limits=(
            Limit(
                says="The exporter falls behind a trace store.",
                headline="Metrics are {} behind",
                stale=True,
                dashboard="agents-exporter-health",
                above=300.0,
                hold="10m",
                do="See whether the backlog shrinks: a first reading of a large store takes its time. If it does not, the "
                "exporter has too little CPU or its disk is slow: see the commit duration.",
            ),
        ),
    ),
    Signal(
        name="source_backlog",
        title="Backlog in bytes by source",
        unit="bytes",
        expr="sum by (source) (agentgauge_source_backlog_bytes{$where})",
        means="Bytes of the store that are still to be read, where it is files.",
        by=("source",),
        over="now",
        empty="No store is files",
    ),
    Signal(
        name="source_backlog_records",
        title="Backlog in records by source",
        unit="short",
        expr="sum by (source) (agentgauge_source_backlog_records{$where})",
        means="Records of the store that are still to be read, where it is a database or a service.",
        by=("source",),
        over="now",
        decimals=0,
        empty="No store is a database or a service",
    ),
    Signal(
        name="rate_limit_used",
        title="Rate limit used by source",
        unit="percentunit",
        expr="max by (source) (1 - agentgauge_source_rate_limit_remaining{$where} "
        "/ (agentgauge_source_rate_limit{$where} > 0))",
        means="Share of the requests that the store's rate limit allows which are used up, as its last reply said. "
        "Others who use the same key count in it.",
        by=("source",),
        over="now",
        decimals=0,
        better="lower",
        empty="No store has a rate limit",
        limits=(
            Limit(
                says="The rate limit of a trace store is nearly spent.",
                headline="{} of the rate limit is used",
                dashboard="agents-exporter-health",
                above=0.9,
                clears=0.7,
                hold="10m",
                do="Give the exporter a key of its own, because others who use the same key spend the same limit. Then ask the "
                "store's maker for a higher one, or read a shorter past with `?since=`. Nothing is lost: it reads on when it may.",
            ),
        ),
    ),
    Signal(
        name="records_by_source",
        title="Records per second by source",
        unit="short",
        expr="sum by (source) (rate(agentgauge_records_total{$where}[$window]))",
        means="Records read per second.",
        by=("source",),
        decimals=1,
    ),
    Signal(
        name="bad_records_by_reason",
        title="Bad records per hour by reason",
        unit="short",
        expr="3600 * sum by (source, reason) (rate(agentgauge_bad_records_total{$where}[$window]))",
        means="Records that could not be used. They are skipped, and counted nowhere else.",
        by=("source", "reason"),
        better="lower",
        empty="No bad records",
        limits=(
            Limit(
                says="A trace store keeps writing records that cannot be used.",
                headline="{} bad records an hour",
                dashboard="agents-exporter-health",
                above=0.0,
                window="15m",
                hold="15m",
                do="Run `agentgauge check` on the source: it shows how many records of each reason there are. "
                "A new version of the framework that writes other fields is the usual cause.",
            ),
        ),
    ),
    Signal(
        name="reconcile_drift",
        title="Drift from the store by source",
        unit="percentunit",
        expr="max by (source) (agentgauge_reconcile_drift_ratio{$where})",
        means="How far apart the exporter's totals and the store's own are, over the last day and the last week that "
        "are over: the largest share of calls, tokens and reported cost. Compared each hour.",
        by=("source",),
        over="now",
        decimals=2,
        better="lower",
        empty="No day is over, or the store cannot be summed",
        limits=(
            Limit(
                says="The metrics and a trace store disagree about days that are over.",
                headline="Metrics and store differ by {}",
                dashboard="agents-exporter-health",
                above=0.001,
                hold="2h",
                do="Run `agentgauge reconcile SOURCE_URL --state DIR`: it prints both sides. More in the store is what came "
                "late or could not be used: see the bad records, and how late the store lets rows be written. More in the "
                "metrics is what was deleted from the store, or counted twice.",
            ),
        ),
    ),
    Signal(
        name="open_runs",
        title="Open runs by source",
        unit="short",
        expr="sum by (source) (agentgauge_open_runs{$where})",
        means="Traces with a run or a call that has not ended. Past the idle limit they are closed as abandoned.",
        by=("source",),
        over="now",
        decimals=0,
        limits=(
            Limit(
                says="Runs are begun and do not end.",
                headline="{} runs are open",
                dashboard="agents-exporter-health",
                above=20.0,
                hold="15m",
                # Three times as many as there were on average the day before, and not for a moment only.
                when="sum by (source) (min_over_time(agentgauge_open_runs{$where}[1h])) "
                "> 3 * sum by (source) (avg_over_time(agentgauge_open_runs{$where}[1d] offset 1h))",
                do="See whether the agents' processes were killed or wait for a tool that does not answer. Runs that nothing "
                "is heard of for the idle limit are closed as abandoned, and counted as failed.",
            ),
        ),
    ),
    Signal(
        name="series_used",
        title="Series budget used",
        unit="percentunit",
        expr="max(agentgauge_series{$where} / agentgauge_series_limit{$where})",
        means="Share of the exporter's budget of series that is used. When it is spent, new label values are "
        "counted as 'other'.",
        view="stat",
        over="now",
        decimals=1,
        better="lower",
        empty="Silent",
        limits=(
            Limit(
                says="The budget of series is nearly spent.",
                headline="{} of the series budget is used",
                dashboard="agents-exporter-health",
                above=0.9,
                hold="15m",
                do="Run `agentgauge check` on the source: it lists the series of each metric. A label with many values is an agent or "
                "model name that carries an id. Mend the name, bound the label with --label-limit LABEL=N, or raise --series-limit.",
            ),
        ),
    ),
    Signal(
        name="label_overflow",
        title="Label overflow per hour by label",
        unit="short",
        expr="3600 * sum by (label) (rate(agentgauge_label_overflow_total{$where}[$window]))",
        means="Spans counted as 'other', by the label whose budget was spent; 'series' when that of the page was.",
        by=("label",),
        better="lower",
        empty="No overflow",
        limits=(
            Limit(
                says="Label values are past their budget and counted as 'other'.",
                headline="{} spans an hour are counted as 'other'",
                dashboard="agents-exporter-health",
                above=0.0,
                window="1h",
                hold="5m",
                do="Run `agentgauge check` on the source: it lists the values of each label. Mend names that carry an id, or "
                "raise the budget with --label-limit LABEL=N or --series-limit. Totals stay right; only the split is lost.",
            ),
        ),
    ),
    Signal(
        name="commit_duration",
        title="Commit duration",
        unit="s",
        expr=quantiles("agentgauge_commit_duration_seconds"),
        means="Time to commit a batch durably. Slow commits are a slow disk.",
        by=("stat",),
        colours=QUANTILES,
        empty="No exporter answers",
    ),
    Signal(
        name="state_up",
        title="State writable",
        unit="none",
        expr="min(agentgauge_state_up{$where})",
        means="Whether the state directory can be written. While it cannot, totals stand still and nothing is lost.",
        view="state",
        over="now",
        decimals=0,
        empty="No exporter answers",
        limits=(
            Limit(
                says="The exporter cannot write its state.",
                headline="The exporter's state cannot be written",
                dashboard="agents-exporter-health",
                below=1.0,
                hold="2m",
                severity="critical",
                do="Read the exporter's log and its page: they say why. A full disk, a failing one, or a file that belongs to "
                "somebody else. It goes on by itself when the directory can be written again.",
            ),
        ),
    ),
    Signal(
        name="weekly_drill",
        title="Weekly drill",
        unit="none",
        # Of what is scraped, so that scraping is part of what is tried.
        expr="max(agentgauge_build_info{$where}) * (day_of_week() == bool 4) * (hour() == bool 9) * (minute() < bool 15)",
        means="On Thursdays at nine (UTC) an alert says that it is a drill, for a quarter of an hour. Whoever misses its "
        "message would miss others too: nobody else notices that alerts do not arrive.",
        view="state",
        over="now",
        decimals=0,
        empty="Silent",
        states=(("None", "green"), ("Drill", "blue")),
        limits=(
            Limit(
                says="This is the weekly drill, and nothing is wrong.",
                headline="A drill, nothing is wrong",
                dashboard="agents-errors",
                above=0.0,
                hold="2m",
                do="Do nothing, because that you read this is what was to be shown. Where it does not come on Thursdays, see "
                "in docs/alerts.md who evaluates and who tells, then their logs. To have none, silence this alert.",
            ),
        ),
    ),
    Signal(
        name="exporter_memory",
        title="Exporter memory",
        unit="bytes",
        expr='sum by (instance) (process_resident_memory_bytes{job="agentgauge"})',
        means="Resident memory of the exporter process.",
        by=("instance",),
        over="now",
        empty="No exporter answers",
    ),
    Signal(
        name="exporter_cpu",
        title="Exporter CPU",
        unit="percentunit",
        expr='sum by (instance) (rate(process_cpu_seconds_total{job="agentgauge"}[$window]))',
        means="Share of one core that the exporter process uses.",
        by=("instance",),
        decimals=1,
        empty="No exporter answers",
    ),
)
