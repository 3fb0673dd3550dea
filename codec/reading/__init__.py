"""Image files to pictures: what is kept of a photo, how it is converted, and what is said of it.

bytes ─► opening ─► Pillow image ─► metadata: upright ─► samples: 8 bits ─► colour: RGB ─► Picture
   └───► inspection: what else the file has ───────────────────────────────► its notes ───┘

structure/  a module for each kind of file: what is in it beside its picture, for `inspection`
tags/       EXIF, XMP and TIFF tags, read and changed in place, for `metadata`
colours/    ICC profiles, curves and conversions, for `colour`

`read.read_picture` is the one way in for files, `read.to_picture` for Pillow images. The command
line, `batch` and the Python API all go through them, so a photo is treated alike everywhere.
"""
