"""Measurements, as ratios and side by side: README.md says how to run them."""
