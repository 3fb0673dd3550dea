"""Exact entropy coding: integer networks, wavefront, rANS behind a guard, compiler."""
