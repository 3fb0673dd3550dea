"""Runs the C extension's calls again on other machines: see tests/benchmarks/other_machines.py."""
