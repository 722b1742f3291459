"""The floor of the databases: the columns that the exporter reads, selected into tuples, and nothing done with them."""

import sqlite3
import sys
from pathlib import Path

SELECT = """
SELECT generations.id, trace_id, model, input_tokens, output_tokens, total_tokens, input_cost, output_cost, total_cost,
    latency_ms, generations.created_at, completion_start_time, completion_end_time, metadata, level, status_message,
    traces.name, trace_metadata, traces.created_at
FROM generations LEFT JOIN traces ON traces.id = trace_id
"""


def main() -> None:
    db = sqlite3.connect(f"file:{Path(sys.argv[1])}?mode=ro", uri=True)
    print(sum(1 for _ in db.execute(SELECT)))


if __name__ == "__main__":
    main()
