"""Reads image files: what is kept of a photo, how it is converted, and which notes it gets.

bytes ─► opening ─► Pillow image ─► metadata: upright ─► samples: 8 bits ─► colour: RGB ─► Picture
   └───► inspection: what else the file has ───────────────────────────────► its notes ───┘

structure/  for `inspection`: one module per kind of file, which finds what it has besides a picture
tags/       for `metadata`: EXIF, XMP and TIFF tags, read and changed in place
colours/    for `colour`: ICC profiles, curves and conversions

All files are read by `read.read_picture`, and all Pillow images by `read.to_picture`. The command
line, `batch` and the Python API call these two, so they all treat a photo in the same way.
"""
