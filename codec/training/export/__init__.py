"""From a checkpoint to a weights file: compiled integers, tables, card and manifest."""
