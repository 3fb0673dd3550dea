"""Colour spaces: ICC profiles read and written, primaries, transfer curves, conversions."""
