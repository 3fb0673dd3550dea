"""Recipes that make the weights: data, trainer, checkpoints, export. Nothing at run time
imports this package; `ticodec train` and `ticodec export` do."""
