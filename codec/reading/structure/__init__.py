"""The structure of image files, walked without decoding it: what there is beside the picture.

One module for each structure: `look(data, image, found)` adds to `found` what the file has.
"""
