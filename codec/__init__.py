"""ticodec: a learned Transformer image codec that decodes exactly, on every machine.

    import ticodec
    data = ticodec.encode("photo.jpg", quality=5)     # bytes of a .tic file
    image = ticodec.decode(data)                      # PIL.Image.Image
    labels = ticodec.classify(data)                   # what is in it, without making a pixel
    ticodec.info(data)                                # facts, without a network

For many images load the network once: `codec = ticodec.load()`, then
`codec.encode("photo.jpg", 5)` and `codec.decode(data).to_image()`.
Nothing here imports torch before a network runs.
"""

from .api import classify, decode, encode, load
from .errors import BadInputError, TicodecError, UsageError
from .info import info

__version__ = "0.1.0"
__all__ = [
    "BadInputError",
    "TicodecError",
    "UsageError",
    "__version__",
    "classify",
    "decode",
    "encode",
    "info",
    "load",
]
