"""EXIF, XMP and TIFF tags, read and changed in place, so that all else in them stays as it is."""
