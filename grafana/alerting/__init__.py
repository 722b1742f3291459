"""Grafana's alerting as files: rules, where their messages go, and how those look."""
