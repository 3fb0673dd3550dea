"""Reads EXIF, XMP and TIFF tags, and changes them in place, so that all other bytes stay."""
