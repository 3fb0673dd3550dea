"""Exact entropy coding: integer networks, the wavefront, and rANS that is safe on any bytes."""
