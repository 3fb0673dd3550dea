"""Colour spaces: reads and writes ICC profiles, and has primaries, tone curves and conversions."""
