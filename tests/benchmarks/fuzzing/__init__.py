"""Makes the damaged input of `fuzz_native.py`, with one module for each part of the C extension.

The modules import neither torch nor ticodec: under a sanitizer that would take longer than the
fuzzing.
"""
