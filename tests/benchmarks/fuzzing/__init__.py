"""What `fuzz_native.py` feeds the C extension with, a file for each part of it.

They import neither torch nor ticodec: under a sanitizer that would take longer than the fuzzing.
"""
