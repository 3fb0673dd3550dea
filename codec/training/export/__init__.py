"""Turns checkpoints into weights files: compiled integers, tables, card and manifest entry."""
