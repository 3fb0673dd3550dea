"""Trees of photos: what there is to do, doing it in many processes or on a Ray cluster, telling.

storage   files below a folder or a URL
plan      which files, what their outputs are called, which of those are up to date
work      some files, with a loaded network: what every engine runs
local     processes of this machine        ray_engine   actors of a Ray cluster
report    rows to totals, JSON, CSV        table        labels to CSV, JSON lines, Parquet

SRC ─► plan ─► items ─► engine ─► work ─► DST
                          └─► rows ─► report, table
"""
