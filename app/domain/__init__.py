"""The rules, in plain Python: no I/O, no clock, nothing but the standard library."""
