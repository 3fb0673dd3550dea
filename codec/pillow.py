"""`.tic` files in Pillow: import this module, and `Image.open` and `Image.save` know them.

    from PIL import Image
    import ticodec.pillow                        # registers the format

    image = Image.open("photo.tic")              # size, mode and metadata; no network yet
    image.thumbnail((320, 320))                  # decodes at 1/8, 1/4 or 1/2 where that is enough
    image.save("small.tic", quality=2, model="tic-lite")

Pillow loads no plugins of other packages by itself, so each program has to import this one.

opening   .tic ─► header and sections ─► size, mode, info
loading   first use of a pixel ─► network ─► pixels, at 1/scale of the size after `draft`
saving    any Pillow image ─► `ticodec.encode`, with the metadata that was given to `save`

Errors are of the kinds that other formats have in Pillow:

* UnidentifiedImageError from `Image.open`: no `.tic` file, one of another version, or a damaged
  header. DecompressionBombError and DecompressionBombWarning, too: by Pillow's limit of pixels.
* OSError, with one line that says what is wrong, when pixels are loaded: the file is damaged, its
  weights are not here, the picture needs more memory than there is. From `verify` when a checksum
  is wrong. From `save` when the image cannot be converted, or the model's weights are damaged.
* ValueError from `save`: the quality is none of the model's, or there is no such model.
  OSError when it is a `Target` that is out of reach.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from PIL import Image, ImageFile

from . import container as tic
from . import sections, weights
from .api import encode, loaded
from .effort import USUAL_EFFORT
from .errors import BadInputError, TicodecError, UsageError, is_memory_short
from .inputs import SCALES
from .picture import pillow_info
from .reading.metadata import exif_of

#: Where networks run, as `ticodec.load` takes it. Assign to it: `Image.open` takes no options.
DEVICE = "auto"
#: Pillow has its own limit of pixels, and no image that is in memory is too large to save.
NO_LIMIT = tic.SIDE_MAX**2


class TicImageFile(ImageFile.ImageFile):
    """A `.tic` file that Pillow has opened: "RGB", "L", "RGBA" or "LA".

    Its `info` may have "icc_profile", "exif" and "xmp", as bytes.
    """

    format = "TIC"
    format_description = "ticodec learned image"

    #: What was opened, or what is wrong with it; None: the pixels are there.
    _source: tic.Container | BadInputError | None = None
    _scale = 1

    def _open(self) -> None:
        assert self.fp is not None
        data = self.fp.read()
        try:
            header, _ = tic.read_header(data, NO_LIMIT)
        except BadInputError as error:
            raise SyntaxError(str(error)) from error
        self._size = header.width, header.height
        self._mode = tic.MODES[header.mode]
        try:
            self._source = tic.read(data, NO_LIMIT)
        except BadInputError as error:  # as with other formats, it opens and does not load
            self._source = error
            return
        if self._source.section("alpha") is not None:
            self._mode += "A"
        kept = {s.name: self._source.section(s.name) for s in sections.metadata()}
        metadata = {name: payload for name, payload in kept.items() if payload is not None}
        self.info |= pillow_info(metadata, grey=header.mode == 1)

    def draft(
        self, mode: str | None, size: tuple[int, int] | None
    ) -> tuple[str, tuple[int, int, float, float]] | None:
        """Decode at 1/2, 1/4 or 1/8 of the size: the least that still covers the asked one.

        Args:
            mode: ignored; the image keeps its own.
            size: (width, height) in pixels that are wanted at least.

        Returns the mode, and the box of the result that the picture fills: (0, 0, width / scale,
        height / scale); the size is that, rounded up. None, as of other formats, when pixels are
        loaded or drafted already.
        """
        if self._source is None or self._scale > 1 or size is None:
            return None
        width, height = self.size
        self._scale = next(
            scale
            for scale in reversed(SCALES)
            if scale == 1 or (size[0] * scale <= width and size[1] * scale <= height)
        )
        self._size = -(-width // self._scale), -(-height // self._scale)
        return self.mode, (0, 0, width / self._scale, height / self._scale)

    def load(self) -> Any:
        """Decode the pixels, unless they are there; returns Pillow's access to them.

        Raises OSError when that cannot be done.
        """
        if self._source is not None:
            if self.fp is None:
                raise ValueError("Operation on closed image")
            with _errors_of_pillow():
                self.im = _decoded(self._source, self._scale).im
            self._source = None
            self.readonly = 0
            if self._exclusive_fp:
                self.fp.close()
            self.fp = None
        return super().load()

    def verify(self) -> None:
        """Check all checksums without decoding; then the file is closed, as of other formats.

        Raises OSError when one is wrong.
        """
        super().verify()
        if isinstance(self._source, BadInputError):
            raise OSError(str(self._source)) from self._source


def _decoded(source: tic.Container | BadInputError, scale: int) -> Image.Image:
    """The image of an opened file, at 1/scale of its size. Raises as `ticodec.decode` does."""
    if isinstance(source, BadInputError):
        raise source
    codec = loaded(weights.of(source.header), DEVICE)
    return codec.decode(source, scale=scale).to_image()


def _save(image: Image.Image, file: IO[bytes], filename: str | bytes) -> None:
    """Write an image of any mode; what Pillow calls for `image.save(…)`.

    Options of `save`:
        quality, effort, model: as `ticodec.encode` takes them.
        icc_profile, exif, xmp: bytes (of EXIF an `Image.Exif` too, of XMP a str too) in place of
            what is in the image's `info`, which is kept otherwise; None or b"": none.

    The orientation in EXIF or XMP is applied to the pixels, as `ticodec.encode` does. All other
    bytes of EXIF and XMP stay as they are; an `Image.Exif` is written by Pillow.
    """
    options = image.encoderinfo
    with _errors_of_pillow():
        data = encode(
            _with_metadata(image, options),
            quality=options.get("quality"),
            effort=options.get("effort", USUAL_EFFORT),
            model=options.get("model"),
            device=DEVICE,
            max_pixels=NO_LIMIT,
        )
    file.write(data)


def _with_metadata(image: Image.Image, options: dict[str, Any]) -> Image.Image:
    """The image with the metadata of these options in place of its own.

    Raises UsageError when it is not bytes.
    """
    keys = [section.key for section in sections.metadata() if section.key in options]
    if not keys:
        return image
    own = exif_of(image, [])  # perhaps made of a TIFF file's tags, which a copy does not have
    image = image.copy()
    if own is not None:
        image.info["exif"] = own
    for key in keys:
        value = b"" if options[key] is None else options[key]
        if isinstance(value, Image.Exif):
            value = value.tobytes()
        elif isinstance(value, str) and key == "xmp":
            value = value.encode()
        if not isinstance(value, bytes):
            raise UsageError(f"`{key}` must be bytes, not {type(value).__name__}")
        image.info[key] = value
    return image


@contextmanager
def _errors_of_pillow() -> Iterator[None]:
    """Raise what went wrong as a kind of error that Pillow's users expect."""
    try:
        yield
    except UsageError:  # a ValueError already
        raise
    except TicodecError as error:
        raise OSError(str(error)) from error
    except RuntimeError as error:
        if not is_memory_short(error):
            raise
        raise MemoryError("not enough memory for this image") from error


Image.register_open(TicImageFile.format, TicImageFile, tic.is_tic)
Image.register_save(TicImageFile.format, _save)
Image.register_extension(TicImageFile.format, ".tic")
Image.register_mime(TicImageFile.format, "image/x-tic")
