"""Makes Pillow's `Image.open` and `Image.save` support `.tic` files.

    from PIL import Image
    import ticodec.pillow                        # registers the format

    image = Image.open("photo.tic")              # size, mode and metadata; runs no network
    image.thumbnail((320, 320))                  # decodes at 1/8, 1/4 or 1/2 if that is enough
    image.save("small.tic", quality=2, model="tic-lite")

Pillow does not find the plugins of other packages, so each program has to import this module.

opening   .tic ─► header and sections ─► size, mode, info
loading   first use of a pixel ─► network ─► pixels, at 1/scale of the size after `draft`
saving    any Pillow image ─► `ticodec.encode`, with the metadata that was given to `save`

The errors have the types that Pillow's users know from other formats:

* `Image.open` raises UnidentifiedImageError if the data is not a `.tic` file, is of another
  version, or has a damaged header. If the image has more pixels than Pillow's own limit, there is a
  DecompressionBombWarning or a DecompressionBombError.
* Loading pixels raises OSError with one line that says what is wrong: the file is damaged, its
  weights are not installed, or there is not enough memory.
* `verify` raises OSError if a checksum is wrong.
* `save` raises ValueError if there is no such model, or if the model does not have the quality. It
  raises OSError if a `Target` is out of reach, if the image cannot be converted, or if the model's
  weights are damaged.
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

#: The device that networks run on, see `ticodec.load`. Programs can assign another one, because
#: `Image.open` takes no options.
DEVICE = "auto"
#: Pillow has its own limit of pixels for opening. Any image that is in memory may be saved.
NO_LIMIT = tic.SIDE_MAX**2


class TicImageFile(ImageFile.ImageFile):
    """A `.tic` file that Pillow has opened: "RGB", "L", "RGBA" or "LA".

    Its `info` may have "icc_profile", "exif" and "xmp", as bytes.
    """

    format = "TIC"
    format_description = "ticodec learned image"

    #: The parsed file, or what is wrong with it. None after the pixels were decoded.
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
        except BadInputError as error:  # as in other formats, opening works and loading fails
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
        """Choose to decode at 1/8, 1/4, 1/2 or full size: the smallest that covers `size`.

        Args:
            mode: ignored, the image keeps its mode.
            size: the smallest (width, height) that the caller needs, in pixels.

        Returns:
            The mode, and the box that the picture fills: (0, 0, width / scale, height / scale). The
            image's size is that of the box, rounded up. None, as for other formats, if the pixels
            are loaded or `draft` was called already.
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
        """Decode the pixels, unless that was done already. Returns Pillow's access to them.

        Raises OSError if they cannot be decoded.
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
        """Check all checksums without decoding, and close the file, as for other formats.

        Raises OSError if a checksum is wrong.
        """
        super().verify()
        if isinstance(self._source, BadInputError):
            raise OSError(str(self._source)) from self._source


def _decoded(source: tic.Container | BadInputError, scale: int) -> Image.Image:
    """Decode an opened file at 1/scale of its size. Raises the errors of `ticodec.decode`."""
    if isinstance(source, BadInputError):
        raise source
    codec = loaded(weights.of(source.header), DEVICE)
    return codec.decode(source, scale=scale).to_image()


def _save(image: Image.Image, file: IO[bytes], filename: str | bytes) -> None:
    """Write an image of any mode. Pillow calls this for `image.save(…)`.

    Options of `save`:
        quality, effort, model: see `ticodec.encode`.
        icc_profile, exif, xmp: the metadata to write instead of that in the image's `info`, as
            bytes. EXIF may also be an `Image.Exif`, and XMP a str. None or b"" writes none.

    The orientation in EXIF or XMP is applied to the pixels, as `ticodec.encode` does it. All other
    bytes of EXIF and XMP are kept. An `Image.Exif` is converted to bytes by Pillow.
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
    """Return the image with the metadata of the options instead of its own.

    Raises UsageError if the metadata is not bytes.
    """
    keys = [section.key for section in sections.metadata() if section.key in options]
    if not keys:
        return image
    own = exif_of(image, [])  # it may come from the tags of a TIFF file, which a copy loses
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
    """Convert errors to the types that Pillow's users expect."""
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
