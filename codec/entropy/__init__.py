"""Exact entropy coding: integer networks, the wavefront, rANS that is safe on any bytes."""
