"""Image files to pictures: what is kept of a photo, how it is converted, and what is said of it.

bytes ─► opening ─► Pillow image ─► metadata: upright ─► samples: 8 bits ─► colour: RGB ─► Picture
   └───► inspection: what else the file has ───────────────────────────────► its notes ───┘

inspection ─► jpeg_file, png_file, tiff_file, … : one module for each kind of file ─► Found ─► notes

`read.read_picture` is the one way in for files, `read.to_picture` for Pillow images. The command
line, `batch` and the Python API all go through them, so a photo is treated alike everywhere.
"""
