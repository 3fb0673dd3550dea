"""ticodec: a learned Transformer image codec that decodes exactly, on every machine.

    import ticodec
    data = ticodec.encode("photo.jpg", quality=5)     # bytes of a .tic file
    image = ticodec.decode(data)                      # PIL.Image.Image
    labels = ticodec.classify(data)                   # what is in it, without making a pixel
    ticodec.info(data)                                # facts, without a network
    ticodec.list_models()                             # what is installed
    ticodec.read_picture("photo.jpg").notes           # what of it would not be kept
    ticodec.set_memory("2GiB")                        # the most to use; larger images are refused

A file may be given by its path, as bytes, or open in binary mode; `encode` and `classify` also
take Pillow images and uint8 arrays. Options have names: `quality=5`.

For many images load the network once: `codec = ticodec.load()`, then
`codec.encode("photo.jpg", 5)` and `codec.decode(data)`. That gives a `Picture`: `pixels` is an
array, `to_image()` the Pillow image. Nothing here imports torch before a network runs.

`import ticodec.pillow` makes Pillow's own `Image.open` and `Image.save` know the format.
"""

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .api import classify, decode, encode, load, read_picture
    from .classifier import Label
    from .codec import Codec
    from .errors import BadInputError, TicodecError, UsageError
    from .facts import info
    from .memory import set_memory
    from .model_list import InstalledModel, list_models
    from .notes import Note, TicodecWarning
    from .picture import Picture
    from .targets import Target

__version__ = "0.1.0"
__all__ = [
    "BadInputError",
    "Codec",
    "InstalledModel",
    "Label",
    "Note",
    "Picture",
    "Target",
    "TicodecError",
    "TicodecWarning",
    "UsageError",
    "__version__",
    "classify",
    "decode",
    "encode",
    "info",
    "list_models",
    "load",
    "read_picture",
    "set_memory",
]

# Torch reads this when it is imported. By default its threads spin while they wait for each other.
# With other programs on the cores, a photo that takes 1.1 s with this setting took 25 to 32 s
# without. A program that sets it itself, or imports torch first, keeps its own way.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

#: The module of each name. It is imported when the name is first used, so that the command can
#: answer Ctrl-C before it imports NumPy and Pillow. (No module here may have one of these names.)
_PLACES = {
    "BadInputError": "errors",
    "Codec": "codec",
    "InstalledModel": "model_list",
    "Label": "classifier",
    "Note": "notes",
    "Picture": "picture",
    "Target": "targets",
    "TicodecError": "errors",
    "TicodecWarning": "notes",
    "UsageError": "errors",
    "classify": "api",
    "decode": "api",
    "encode": "api",
    "info": "facts",
    "list_models": "model_list",
    "load": "api",
    "read_picture": "api",
    "set_memory": "memory",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_PLACES})
