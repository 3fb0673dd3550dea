"""ticodec: a learned Transformer image codec that decodes exactly, on every machine.

    import ticodec
    data = ticodec.encode("photo.jpg", quality=5)     # bytes of a .tic file
    image = ticodec.decode(data)                      # PIL.Image.Image
    labels = ticodec.classify(data)                   # what the photo shows, without its pixels
    ticodec.info(data)                                # facts about the file; runs no network
    ticodec.list_models()                             # the models that are installed
    ticodec.read_picture("photo.jpg").notes           # what a .tic file would not keep
    ticodec.set_memory("2GiB")                        # images that need more memory are refused

A file can be a path, bytes, or a file object in binary mode. `encode` and `classify` also take
Pillow images and uint8 arrays. Options are passed by name: `quality=5`.

To process many images, load the network once: `codec = ticodec.load()`, then call
`codec.encode("photo.jpg", 5)` and `codec.decode(data)`. `codec.decode` returns a `Picture`:
`pixels` is its array, and `to_image()` returns a Pillow image. Torch is not imported before a
network runs.

After `import ticodec.pillow`, Pillow's own `Image.open` and `Image.save` support `.tic` files.
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

__version__ = "0.2.0"
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
# While other programs used the cores, encoding a photo took 1.1 s with this setting, and 25 to 32 s
# without it. A program that sets the variable itself, or imports torch first, is not affected.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

#: The module that defines each public name. It is imported when the name is first used, so that
#: the command can react to Ctrl-C before it imports NumPy and Pillow. No module of this package may
#: have one of these names.
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
