"""Repeats calls of the C extension on other machines. See tests/benchmarks/other_machines.py."""
