"""Trees of photos: plans a run, does it in many processes or on a Ray cluster, and reports.

storage   files below a folder or a URL
plan      which files, the names of their outputs, which outputs are up to date
worker    does some files with a loaded network: what every engine runs
local     processes of this machine        ray_engine   actors of a Ray cluster
report    rows to totals, JSON, CSV        table        labels to CSV, JSON lines, Parquet

SRC ─► plan ─► items ─► engine ─► worker ─► DST
                          └─► rows ─► report, table
"""
