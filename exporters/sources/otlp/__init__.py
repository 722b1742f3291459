"""OTLP: spans that are pushed over HTTP, and spans that a Collector wrote to files."""
