"""What makes the weights: data, trainers, checkpoints, export.

Only `ticodec train` and `ticodec export` import this package. Nothing that encodes, decodes or
classifies does.
"""
