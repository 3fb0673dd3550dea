"""What all trainers of codecs on photos share: the photos, the network, and how a run starts."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path
from typing import ClassVar, NamedTuple, TypeVar

import torch
from torch import Tensor

from ticodec.errors import BadInputError, UsageError
from ticodec.image_files import list_images
from ticodec.models.codec_network import CodecNetwork
from ticodec.models.config import CodecConfig
from ticodec.models.families import build

from .data.decoding import Decoding, useful_processes
from .data.photos import Photos, split
from .data.unusable import listed
from .option_field import Training
from .options import TrainOptions
from .request import Beginning, Request
from .trainer import CALIBRATION, CALIBRATION_SIZE, BaseTrainer

VALIDATION_IMAGES = 16
VALIDATION_QUALITIES = (1.0, 3.0, 5.0, 8.0)

#: The data to train on.
D = TypeVar("D")


class PhotoData(NamedTuple):
    """Photos to train on, and held-out crops (n, size, size, 3), float32 in [0, 1]."""

    photos: Photos
    held: Tensor


class Loading(NamedTuple):
    """Photos that are being decoded. The first `training` are for training, the rest held out."""

    decoding: Decoding
    training: int


class PhotoTrainer(BaseTrainer[CodecConfig, D]):
    """Trains a codec on photos, see `BaseTrainer`."""

    kind = "codec"
    #: The kind of training, which decides the options.
    training: ClassVar[Training] = Training.CODEC
    network: CodecNetwork
    average: CodecNetwork
    loading: Loading | None = None

    def build(self) -> CodecNetwork:
        """The network. Raises UsageError when the crops do not fit its stride."""
        if self.options.crop % self.config.stride_z:
            raise UsageError(f"`crop` must be a multiple of {self.config.stride_z}")
        self.lambdas = torch.tensor(self.config.lambdas, device=self.device)
        return build(self.config)

    def begin_loading(self, folder: Path) -> Decoding:
        """Start to decode the photos of a folder, in other processes if there are enough cores."""
        self.loading = self.decode(folder)
        return self.loading.decoding

    def decode(self, folder: Path) -> Loading:
        """Start to decode the photos of a folder. Every 50th one, by name, is held out."""
        training, held = split(list_images(folder))
        paths = [*training, *held]
        decoding = Decoding(paths, useful_processes(len(paths), self.ranks.here))
        return Loading(decoding, len(training))

    def load_photos(self, folder: Path, tick: Callable[[int], None]) -> tuple[PhotoData, str]:
        """The photos of a folder. Every 50th one, by name, is held out.

        A few crops of the held-out photos are kept in the checkpoint, for export.

        Args:
            folder: where the photos are.
            tick: called as `tick(total)` once for each file.

        Returns:
            The data, and a line about it for people.

        Raises:
            BadInputError: No photo can be used.
        """
        decoding, count = self.loading or self.decode(folder)
        self.loading = None
        images, step = iter(decoding), partial(tick, len(decoding))
        paths, held_paths = decoding.paths[:count], decoding.paths[count:]
        left_out: dict[Path, str] = {}

        def leave_out(number: int, why: str) -> None:
            left_out[paths[number]] = why

        def leave_out_held(number: int, why: str) -> None:
            if held_paths[number] not in paths:  # a single photo is trained on too
                left_out[held_paths[number]] = why

        size = self.options.crop
        try:
            photos = Photos(islice(images, count), size, self.device, step, leave_out)
        except BadInputError as error:
            path, why = next(iter(left_out.items()))
            raise BadInputError(f"{folder}: {error} ({path.name}: {why})") from error
        try:
            validation = Photos(images, CALIBRATION_SIZE, self.device, step, leave_out_held)
            size = CALIBRATION_SIZE
        except BadInputError:  # none can be used: validate on training photos instead
            validation = photos
        crops = validation.centres(size)
        if self.calibration is None:
            self.calibration = (crops[:CALIBRATION] * 255).round().byte().cpu()
        held = "none" if validation is photos else len(validation)
        line = (
            f"{len(photos)} photo{'' if len(photos) == 1 else 's'} to train on, {held} held out, "
            f"{listed(left_out, folder)}"
        )
        return PhotoData(photos, crops[:VALIDATION_IMAGES]), line

    def validation_qualities(self) -> list[float]:
        """The qualities of `VALIDATION_QUALITIES` that the network has."""
        return [q for q in VALIDATION_QUALITIES if q <= self.config.levels]

    @classmethod
    def training_of(cls, config: CodecConfig, options: TrainOptions) -> Training:
        """The kind of training of the class, whatever the config and options."""
        return cls.training

    @classmethod
    def beginning(cls, request: Request) -> Beginning:
        """The preset with random weights, or the codec of `init` with its weights and config."""
        options = TrainOptions.of(cls.training, request.options)
        if options.freeze and cls.training is not Training.ENTROPY:
            raise UsageError(f"leave out `freeze`: models of the kind {cls.kind} do not have it")
        if request.codec is None:
            return Beginning(request.preset(), options)
        request.refuse_dimensions()
        codec = request.codec
        return Beginning(codec.config, options, codec.floats, codec.history)
