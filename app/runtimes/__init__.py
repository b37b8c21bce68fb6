"""Where workloads run: one protocol, several drivers."""
