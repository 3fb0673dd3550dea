"""Finds what image files have besides a picture, from their structure, without decoding them.

There is one module for each structure. Its function `look(data, image, found)` adds to `found` what
the file has.
"""
