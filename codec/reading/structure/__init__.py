"""Inspects the structure of image files without decoding them, to find what they have besides a
picture.

There is one module for each structure. Its `look(data, image, found)` adds to `found` what the file
has.
"""
