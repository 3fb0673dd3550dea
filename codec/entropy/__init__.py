"""Exact entropy coding: integer networks, the wavefront, rANS behind a guard."""
