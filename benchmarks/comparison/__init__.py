"""Slipway beside what a user would pick instead: the same graph, the same database, the same answers."""
