"""Measures codecs: bytes of real files, decoded pixels, curves, BD-rates, and a page to look at.

images ─┬► coders (ticodec, its peers) ─► stream ─► decoded ─► metrics ─► measurements.jsonl
        │    registry.py, coder.py,                                          measurements.py
        │    ticodec_coder.py, peers/                                        measure.py
        └► each (image, coder, setting) once, unless its measurement is on disk already
           (a pool of processes: workers.py; the class of an image: folder_labels.py)

measurements ─► mean curves, BD-rates ─► report.json, .csv, .md ─► plots, report.html
                summary.py, bd.py        report_files.py           plots.py, accuracy_plot.py,
                accuracy.py, efforts.py  report_tables.py          effort_plot.py,
                                                                   page.py, pictures.py

one photo ─► every codec at the same size ─► a page       photo_page.py
"""
