"""Measuring codecs: real bytes, decoded pixels, curves, BD-rates, and a page to look at.

images ─┬► coders (ticodec, its peers) ─► stream ─► decoded ─► metrics ─► measurements.jsonl
        │    coders.py, peers.py,                              metrics.py   store.py, run.py
        │    programs.py, zoo.py
        └► each (image, coder, setting) once; what is on disk is not measured again
           (a pool of processes: workers.py; what is in the image: classes.py, accuracy.py)

measurements ─► mean curves, BD-rates ─► report.json, .csv, .md ─► plots.py, page.py
                summary.py, bd.py        report.py                 rd-*.svg, .png, report.html
                                                                   accuracy_plot.py
"""
