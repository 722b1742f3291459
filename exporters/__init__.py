"""Reads the trace stores of LLM agents and exposes Prometheus metrics."""

__version__ = "0.1.0"
