"""Encodes, decodes or classifies whole folders, in many processes or on a Ray cluster.

storage   lists, reads and writes files in a folder or below a URL
plan      decides which files to do, and names their outputs
existing  decides which outputs are up to date, and which may be replaced
worker    does files with a loaded network; every engine runs it
local     the engine of this machine: processes
ray_engine  the engine of a Ray cluster: actors
report    turns rows into totals, JSON and CSV
table     turns rows into labels as CSV, JSON lines or Parquet

SRC ─► plan ─► items ─► engine ─► worker ─► DST
                          └─► rows ─► report, table

To "do" a file means to encode, decode or classify it. An item is a file to do. A row says what
became of a file.
"""
