"""The codec: one network that encodes pictures to `.tic` bytes, decodes them, and labels them.

picture ─► pad ─► g_a ─► ·gain ─► y ─► h_a ─► round ─► ẑ ─► z section
                                  │                    └─► h_s ─┐   (integers from here)
                                  └────────► wavefront ◄────────┘─► y section
z, y sections ─► ẑ ─► h_s ─► wavefront ─► ŷ ─► ÷gain ─┬─► g_s ─► crop ─► picture
                                                      └─► classifier ─► labels
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ticodec import encoding, memory, sections, weights
from ticodec.classifier import Classifier, Label, load_head
from ticodec.container import MAX_PIXELS, QUALITY_STEPS, Container, symbol_crc, write
from ticodec.crop import Box, aligned, box_of
from ticodec.device import pick_device
from ticodec.effort import USUAL_EFFORT, checked_effort
from ticodec.entropy.coder import EntropyCoder, Streams
from ticodec.errors import BadInputError, TicodecError, UsageError, is_memory_short
from ticodec.inputs import (
    FileLike,
    ImageLike,
    as_container,
    as_picture,
    checked_scale,
    path_of,
    whole,
)
from ticodec.models.config import STRIDE_Y
from ticodec.models.families import build, config_from
from ticodec.models.gradient import SynthesisGradient
from ticodec.models.image_padding import PaddedPixels
from ticodec.models.inference import Transform, fast_bf16
from ticodec.models.preview import Preview, load_preview
from ticodec.notes import warn
from ticodec.picture import Picture, Pixels, neutral, smaller
from ticodec.progress import TRANSFORMS, Progress, ignored, part
from ticodec.quality import checked_quality
from ticodec.synthesis import synthesise
from ticodec.targets import Quality

#: Increase this if `encode` gives other bytes for the same picture and weights. The key of a stored
#: measurement contains it. Since 2, image padding fades into a blur. Since 3, transforms keep maps
#: in float32.
ENCODER = 3


class Codec:
    """A loaded network that encodes and decodes any number of pictures.

    Args:
        entry: the weights.
        device: where the transforms run: "auto", "cpu", "cuda" or "cuda:1".
        bf16: see `ticodec.load`. Decoding in bf16 may change a pixel by one level, but never the
            latents.

    Raises BadInputError if the weights are missing or damaged, UsageError for a wrong device,
    TicodecError if the weights do not fit into memory.
    """

    def __init__(
        self, entry: weights.Entry, device: str = "auto", bf16: bool | None = None
    ) -> None:
        if not isinstance(entry, weights.Entry):
            kind = type(entry).__name__
            raise UsageError(
                f"entry must be an `Entry`, not {kind}; Codec.load takes a model's name"
            )
        fields, tensors = weights.read(entry)
        self.entry, self.device = entry, pick_device(device)
        try:
            self.config = config_from(fields)
            self._check_qualities()
            network = build(self.config)
            network.load_state_dict(weights.floats(tensors), assign=True)
            exact = {k[6:]: v for k, v in tensors.items() if k.startswith("exact.")}
            # A step of the wavefront is too little work for a GPU to be faster.
            self.entropy = EntropyCoder(self.config, exact, torch.device("cpu"))
        except BadInputError:
            raise
        except (ValueError, LookupError, RuntimeError, BufferError) as error:
            if is_memory_short(error):
                raise TicodecError(f"{entry.path}: not enough memory for these weights") from error
            raise BadInputError(f"{entry.path}: not weights of this ticodec: {error}") from error
        use_bf16 = fast_bf16(self.device) if bf16 is None else bf16
        dtype = self.dtype = torch.bfloat16 if use_bf16 else torch.float32
        self.g_a = Transform(network.g_a, self.device, dtype)
        self.h_a = Transform(network.h_a, self.device, torch.float32)
        self.g_s = Transform(network.g_s, self.device, dtype)
        self.network = network.eval().requires_grad_(False)
        network.move_rest(self.device, dtype)
        self.heads: dict[Path | None, Classifier] = {}
        self.previews: dict[int, Preview] = {}

    def _check_qualities(self) -> None:
        """Raises BadInputError if the network has other qualities than the manifest says."""
        levels, given = self.config.levels, self.entry.qualities
        if (given is None) != (levels == 1) or (given is not None and given[1] > levels):
            shown = "one fixed quality" if levels == 1 else f"the qualities 1 to {levels}"
            raise BadInputError(
                f"{self.entry.path}: {self.entry.name} has {shown}, but its manifest says otherwise"
            )

    @classmethod
    def load(
        cls, model: str | None = None, *, device: str = "auto", bf16: bool | None = None
    ) -> Codec:
        """Load the codec of a model, see `ticodec.load`."""
        return cls(weights.find(model), device, bf16)

    # -- quality --------------------------------------------------------------------

    def stored_quality(self, quality: float | None) -> int:
        """Convert a quality to units of 1/4096, as files store it; 0 for a model of one fixed λ.

        Raises UsageError if these weights do not have the quality.
        """
        checked = checked_quality(self.entry, quality)
        return 0 if checked is None else round(checked * QUALITY_STEPS)

    def gains(self, stored: int) -> tuple[Tensor, Tensor]:
        """Gains (up, down) of a stored quality, (1, 1, 1, M), float32. Raises BadInputError."""
        return self.network.scaling(torch.tensor([self.level(stored)]))

    def level(self, stored: int) -> float:
        """The level of a stored quality, 0 … levels - 1. It is 0 for a model of one fixed λ.

        Raises BadInputError if the model does not have that quality.
        """
        fixed = self.config.levels == 1
        level = 0.0 if fixed else stored / QUALITY_STEPS - 1
        if (stored == 0) != fixed or not 0 <= level <= self.config.levels - 1:
            raise BadInputError("damaged file: the model does not have the file's quality")
        return level

    # -- encoding -------------------------------------------------------------------

    def encode(
        self,
        image: ImageLike,
        quality: Quality = None,
        *,
        effort: int = USUAL_EFFORT,
        progress: Progress | None = None,
    ) -> bytes:
        """Encode an image. Returns the bytes of a `.tic` file.

        Args:
            image, quality, effort: see `ticodec.encode`.
            progress: called from time to time with the share that is done, 0 … 1.

        Raises UsageError if the model does not have the quality or the effort is out of range,
        TicodecError if the picture does not fit into memory or the target is out of reach.
        """
        effort = checked_effort(effort)

        def check(height: int, width: int) -> None:
            self.check_picture(height, width, effort)

        picture = as_picture(image, check=check)
        data = write(self.containers([picture], quality, effort, progress)[0])
        if picture is not image:
            warn(picture.notes_with(len(data)))
        return data

    def encode_many(
        self, pictures: Sequence[Picture], quality: Quality = None, effort: int = USUAL_EFFORT
    ) -> list[bytes]:
        """Encode several pictures of any sizes to the same bytes as `encode`.

        Without the C extensions this is faster for small pictures than encoding one by one.
        The latents of all pictures are in memory at once: about 6 bytes per pixel. Raises the
        errors of `encode`.
        """
        return [write(file) for file in self.containers(pictures, quality, effort)]

    def containers(
        self,
        pictures: Sequence[Picture],
        quality: Quality = None,
        effort: int = USUAL_EFFORT,
        progress: Progress | None = None,
    ) -> list[Container]:
        """As `encode_many`, but returns containers. `decode` and `classify` need not parse them."""
        return encoding.containers(self, pictures, quality, effort, progress)

    @torch.inference_mode()
    def features(self, pixels: Pixels, progress: Progress = ignored) -> Tensor:
        """Run g_a on pixels (H, W, 3), uint8. Returns (1, h, w, M), on the codec's device.

        The result is the same for all qualities: `scaled` turns it into latents of one quality.
        """
        padded = PaddedPixels(pixels, self.config.stride_z)

        def read(first: int, last: int) -> Tensor:
            progress(first / padded.size[0])
            return padded.rows(first, last)

        features = self.g_a.whole(read, padded.size)
        progress(1)
        return features

    @torch.inference_mode()
    def scaled(self, features: Tensor, stored: int) -> tuple[Tensor, Tensor]:
        """Turn features into latents y (h, w, M) and z (h/n, w/n, N), gains applied, on the CPU."""
        up, _ = self.gains(stored)
        y = features * up.to(self.device)
        return y[0].cpu(), self.h_a(y)[0].cpu()

    @cached_property
    def synthesis_gradient(self) -> SynthesisGradient:
        """The gradient through g_s, for an `effort` of 2 or more."""
        return SynthesisGradient(self.network.g_s, self.device, self.dtype)

    def check_picture(self, height: int, width: int, effort: int = USUAL_EFFORT) -> None:
        """Raises TicodecError if there is not enough memory to encode a picture of this size."""
        if self.device.type == "cpu":
            memory.check_picture(self.config, height, width, effort=effort)

    # -- decoding -------------------------------------------------------------------

    def decode(
        self,
        data: FileLike | Container,
        *,
        crop: Sequence[int] | None = None,
        scale: int = 1,
        max_pixels: int = MAX_PIXELS,
        progress: Progress | None = None,
    ) -> Picture:
        """Decode a `.tic` file. Call `to_image()` on the result to get a Pillow image.

        Args:
            data: what `ticodec.decode` takes, or a parsed file.
            crop, scale, max_pixels: see `ticodec.decode`.
            progress: see `encode`.

        Raises BadInputError if the file is damaged, has too many pixels or was made by other
        weights, or if the preview of these weights is damaged; UsageError for a wrong argument.
        """
        scale = checked_scale(scale)
        container = as_container(data, max_pixels)
        size = container.header.height, container.header.width
        box = aligned(box_of(crop, *size), scale, *size)
        made = -(-box.height // scale), -(-box.width // scale)
        self.checked(container, None if made == size else made)
        # For a part the transforms have less to do, but all latents are decoded.
        work = TRANSFORMS * made[0] * made[1] / (size[0] * size[1])
        latents = (1 - TRANSFORMS) / (1 - TRANSFORMS + work)
        y_hat = self.latents(container, part(progress, 0, latents))
        return self.picture(container, y_hat, box, part(progress, latents, 1), scale)

    @torch.inference_mode()
    def picture(
        self,
        container: Container,
        y_hat: Tensor,
        box: Box | None = None,
        progress: Progress = ignored,
        scale: int = 1,
    ) -> Picture:
        """Make the picture of a file from its decoded latents ŷ, at 1/scale of its size.

        Args:
            box: the part to make, which begins at multiples of `scale`, see `aligned`.
        """
        header = container.header
        size = header.height, header.width
        box = box or box_of(None, *size)
        _, down = self.gains(header.quality)
        y = (y_hat * down[0])[None].float().to(self.device)
        y = self.network.synthesis_input(y, self.dtype)[0]
        if scale == 1 or self.entry.preview is None:
            pixels = smaller(synthesise(self.g_s, y, box, 1, progress), scale)
        else:
            pixels = synthesise(self.preview(scale), y, box, scale, progress)
        grey = header.mode == 1
        picture = Picture(neutral(pixels) if grey else pixels, grey=grey)
        sections.restore(picture, container.sections, size)
        if picture.alpha is not None:
            rows, columns = slice(box.y, box.y + box.height), slice(box.x, box.x + box.width)
            picture.alpha = smaller(np.ascontiguousarray(picture.alpha[rows, columns]), scale)
        return picture

    def checked(self, container: Container, part: tuple[int, int] | None = None) -> Container:
        """Return the container. `part` is explained at `memory.needed`.

        Raises BadInputError if other weights wrote the file, TicodecError if decoding it takes too
        much memory.
        """
        header = container.header
        if header.fingerprint != self.entry.fingerprint:
            raise BadInputError(
                f"written with weights {header.fingerprint.hex()}, not with the weights of "
                f"{self.entry.name} ({self.entry.fingerprint.hex()})"
            )
        if self.device.type == "cpu":
            memory.check(self.config, header.height, header.width, part=part)
        return container

    def latents(self, container: Container, progress: Progress = ignored) -> Tensor:
        """Decode ŷ (h, w, M), float32 multiples of 2^-8, with the same bits on every machine.

        Raises BadInputError if the streams do not decode to the symbols that were coded.
        """
        y_hat = self.latents_many([container])[0]
        progress(1)
        return y_hat

    def latents_many(self, containers: Sequence[Container]) -> list[Tensor]:
        """As `latents`, for several files in less time. Raises BadInputError if one is damaged."""
        streams = []
        for container in containers:
            z_stream, y_stream = container.section("z"), container.section("y")
            assert z_stream is not None
            assert y_stream is not None
            size = container.header.height, container.header.width
            z_size = (math.ceil(n / self.config.stride_z) for n in size)
            streams.append(Streams(z_stream, y_stream, *z_size))
        decoded = self.entropy.decode_many(streams)
        for container, latents in zip(containers, decoded, strict=True):
            if symbol_crc(*latents.symbols) != container.header.symbols:
                raise BadInputError("damaged file: its latents do not match their checksum")
        return [latents.y_hat for latents in decoded]

    def preview(self, scale: int) -> Preview:
        """Load the network that makes pictures at 1/scale of their size, and keep it for later.

        Raises BadInputError if the preview file of these weights is missing or damaged.
        """
        if scale not in self.previews:
            place = self.device, self.dtype
            self.previews[scale] = load_preview(self.entry, self.network.g_s, scale, *place)
        return self.previews[scale]

    # -- classifying ----------------------------------------------------------------

    def classify(
        self,
        data: FileLike | Container,
        top: int = 5,
        head: str | os.PathLike[str] | None = None,
        *,
        max_pixels: int = MAX_PIXELS,
        progress: Progress | None = None,
    ) -> list[Label]:
        """Label what a `.tic` file shows, from its latents. g_s does not run.

        Args:
            data: what `ticodec.decode` takes, or a parsed file.
            top, head, max_pixels: see `ticodec.classify`.
            progress: see `encode`.

        Raises BadInputError if the file is damaged, has too many pixels or was made by other
        weights, or if there is no classifier for these weights; UsageError for a wrong `top`.
        """
        whole("top", top)
        container = self.checked(as_container(data, max_pixels))
        self.classifier(head)  # raises its errors before any work is done
        y_hat = self.latents(container, part(progress, 0, 1))  # nearly all of the work
        return self.labels(container, y_hat, top, head)

    def labels(
        self,
        container: Container,
        y_hat: Tensor,
        top: int,
        head: str | os.PathLike[str] | None = None,
    ) -> list[Label]:
        """Label a file whose latents ŷ are decoded. The other arguments are those of `classify`."""
        header = container.header
        _, down = self.gains(header.quality)
        # Leave out the latents of the padding, which are not part of the image.
        height, width = (math.ceil(n / STRIDE_Y) for n in (header.height, header.width))
        return self.classifier(head)((y_hat * down[0])[:height, :width], top)

    def classifier(self, head: str | os.PathLike[str] | None = None) -> Classifier:
        """Load the classifier in a file, or that of these weights, and keep it for the next call.

        Raises BadInputError if there is none, or if it reads the latents of other weights.
        """
        path = path_of("head", head)
        if path not in self.heads:
            if path is None and self.network.vit is not None:
                classifier = Classifier(self.network.vit, self.config.labels)
            else:
                classifier = load_head(self.entry, path, self.config.M, self.device, self.dtype)
            self.heads[path] = classifier
        return self.heads[path]
