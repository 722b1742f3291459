"""Budgets: what may be spent, what of it is, and where the period will end."""
