"""Trains a classifier alone: a ViT on the latents of frozen weights, or on pixels.

images ─► augment, enlarge ─► frozen g_a, quantised at a random quality ─► ŷ ─► ViT ─► cross entropy
images ─► augment ─► 16×16 patches ───────────────────────────────────────────► ViT ─► cross entropy

With `teacher`, each target is the mean of the label and another classifier's answer: `teacher.py`.
The latents of an enlarged image are halved until there are as many as for an image at its own size.
`classify` reads large photos in the same way: see `halving.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ticodec import weights
from ticodec.errors import BadInputError, UsageError
from ticodec.models.codec_network import CodecNetwork
from ticodec.models.config import STRIDE_Y, VITS, HeadConfig, ViTConfig
from ticodec.models.families import config_from, default_head
from ticodec.models.vit import ViT

from . import checkpoint
from .data.augment import augmentation_of, drawing_from, mixed
from .data.class_folder import ClassFolder, labels_of, listed, load_classes
from .data.photos import draw_levels
from .encoded_views import BATCH, encode_views, windows
from .float_latents import frozen_network, latents, of_pixels
from .halving import MILD, fit_to, groups, layer_of
from .least_squares import Source, stitch
from .option_field import Training
from .options import TrainOptions
from .parameters import FIRST, HALVE, on_grid, without, without_labels
from .pretrained import PATCH, find_classifier
from .request import Beginning, Request
from .standardised_input import StandardLinear
from .teacher import Teacher
from .trainer import BaseTrainer, Row

#: The standardisation of the first layer is measured on at least this many maps.
FITTED = 256
#: If another classifier's Transformer is used, a new first layer is fitted on this many images.
STITCHED = 512
#: Qualities to validate, as far as the frozen weights have them.
VALIDATION_QUALITIES = (1.0, 3.0, 5.0, 8.0)


class HeadData(NamedTuple):
    """The data of a run.

    Args:
        images: the labelled images.
        views: ŷ of several views of each training image, (n, h, w, M) float16. None if images are
            encoded in every step.
        targets: the target of each view, (n, classes) float16, on the CPU.
        held: ŷ of the held-out images at each validation quality, (n, h, w, M) float16.
    """

    images: ClassFolder
    views: Tensor | None
    targets: Tensor
    held: dict[float, Tensor]


class HeadLoss(NamedTuple):
    """Scalars of one batch: cross entropy in nats, and the share of right answers."""

    loss: Tensor
    top1: Tensor


class HeadTrainer(BaseTrainer[HeadConfig, HeadData]):
    """Trains a classifier, see `BaseTrainer`. `config.stem` says what the classifier reads."""

    kind = checkpoint.HEAD
    columns = HeadLoss._fields
    crop_is_fixed = True
    #: The first layer of the classifier of `init`, which a new first layer is fitted to imitate.
    imitated: Source | None

    def build(self) -> ViT:
        """The Transformer. Also loads and freezes the codec whose latents it reads.

        Raises:
            BadInputError: The codec is not installed.
            UsageError: The options do not fit what the classifier reads.
        """
        c, o = self.config, self.options
        if o.enlarge > 1 and not o.views:
            raise UsageError("`enlarge` needs `views`: enlarged images are only encoded once")
        if o.enlarge > 1 and not c.halving:
            raise UsageError(
                "leave out `enlarge`: this classifier has no layer that halves latents. "
                "To train one that has it, give this one as `init`"
            )
        self.augmentation = augmentation_of(o, self.device)
        self.frozen: CodecNetwork | None = None
        self.qualities: tuple[float, float] = (1.0, 1.0)
        vit = ViT(c.channels, c.vit, len(c.labels), c.halving)
        if c.stem == "latents":
            entry = weights.find_fingerprint(bytes.fromhex(c.fingerprint), c.codec)
            self.frozen, self.qualities = frozen_network(entry, self.device)
            raw = vit.embed.state_dict()
            vit.embed = StandardLinear(c.channels, c.vit.C)
            vit.embed.load_state_dict(raw)
        with torch.random.fork_rng(devices=[]):  # a teacher must not change what a seed gives
            self.teacher = self.find_teacher() if o.teacher else None
        return vit

    def find_teacher(self) -> Teacher:
        """The classifier to learn from.

        Raises:
            UsageError: It has other labels.
            BadInputError: It cannot be found or is damaged.
        """
        name = self.options.teacher
        try:
            classifier = find_classifier(name)
            teacher = classifier.teacher(self.device)
        except BadInputError as error:
            raise BadInputError(f"`teacher` {name}: {error}") from error
        if classifier.config.labels != self.config.labels:
            raise UsageError(
                f"`teacher` {name} has the labels {listed(classifier.config.labels)}, "
                f"but the data has {listed(self.config.labels)}"
            )
        return teacher

    def taught(self, x: Tensor, targets: Tensor) -> Tensor:
        """Targets (B, classes) of images (B, H, W, 3), mixed with the teacher's answers if any."""
        if self.teacher is None:
            return targets
        with self.autocast():
            return self.teacher.taught(x, targets)

    def load_data(self, folder: Path, tick: Callable[[int], None]) -> tuple[HeadData, str]:
        """The labelled images. Every 50th image of a class is held out.

        Held-out images and views are encoded here.
        """
        images, line = load_classes(
            folder, self.config.labels, self.options.crop, self.device, tick
        )
        held = {q: self.held(images, q) for q in self.validation_qualities()}
        data = HeadData(images, None, torch.empty(0), held)
        ticks = len(images) + len(images.left_out)
        if self.config.halving and not layer_of(self.network).weight.any():
            read, qualities = self.read, self.qualities
            line += f"\n{fit_to(self, images, read, qualities, lambda more: tick(ticks + more))}"
            ticks += len(groups(self.options.crop))
        if self.frozen and self.options.views:
            views = encode_views(self, images, lambda more: tick(ticks + more))
            data = HeadData(images, *views, held)
        if self.frozen and not self.step:
            self.standardise(data)
        if self.imitated and not self.step:
            line += f"\n{self.begin_from(self.imitated, images)}"
        return data, line

    @torch.no_grad()
    def standardise(self, data: HeadData) -> None:
        """Let the first layer standardise each channel by the statistics of a few batches."""
        generator = torch.Generator().manual_seed(self.options.seed)
        count = -(-FITTED // self.options.batch)
        y = [self.read_batch(data, generator)[0].flatten(0, 2) for _ in range(count)]
        std, mean = torch.std_mean(torch.cat(y), 0)
        for network in (self.network, self.average):
            first = network.get_submodule("embed")
            assert isinstance(first, StandardLinear)
            first.fit(mean, std, same=self.trained)

    def begin_from(self, source: Source, images: ClassFolder) -> str:
        """Fit the first layer to the outputs of another classifier's first layer.

        Returns:
            A line for people: how well it fits.
        """
        o = self.options
        generator = torch.Generator().manual_seed(o.seed)
        first = self.network.get_submodule("embed")
        assert isinstance(first, nn.Linear)

        def pairs() -> Iterator[tuple[Tensor, Tensor]]:
            for _ in range(-(-STITCHED // BATCH)):
                pick = torch.randint(len(images.training), (BATCH,), generator=generator)
                x, _ = images.augmented(images.training[pick], o.crop, generator, MILD)
                y = self.read(x, self.draw_qualities(BATCH, generator))
                if isinstance(first, StandardLinear):
                    y = first.standardised(y)
                with self.autocast():
                    yield y, source(x)

        part = stitch(first, pairs())
        self.average.get_submodule("embed").load_state_dict(first.state_dict())
        return f"outputs of the new first layer explain {part:.0%} of the variance of the old ones"

    def validation_qualities(self) -> list[float]:
        """The qualities that the frozen weights have. For pixels, one quality without meaning."""
        low, high = self.qualities
        return [q for q in VALIDATION_QUALITIES if low <= q <= high] or [low]

    def read(self, x: Tensor, level: Tensor) -> Tensor:
        """The input of the Transformer, from images (B, H, W, 3): latents or patches.

        Latents are quantised at levels (B,).
        """
        if self.frozen is None:
            return of_pixels(x)
        with self.autocast():
            return latents(self.frozen, x, level)

    def draw_qualities(self, count: int, generator: torch.Generator) -> Tensor:
        """Random levels of the frozen weights, (count,)."""
        return draw_levels(self.qualities, count, generator, self.device)

    def held(self, images: ClassFolder, quality: float) -> Tensor:
        """The input of the Transformer for the held-out images at a quality, float16."""
        parts = []
        for x, _ in images.centre(self.options.crop):
            level = torch.full((len(x),), quality - 1, device=self.device)
            parts.append(self.read(x, level).half())
        return torch.cat(parts)

    def batch(self, data: HeadData) -> tuple[Tensor, Tensor]:
        """The input of the Transformer (B, h, w, channels), and soft targets (B, classes)."""
        return self.read_batch(data, self.sampler)

    def read_batch(self, data: HeadData, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """A batch. All randomness comes from this CPU generator."""
        o = self.options
        if data.views is None:
            x, targets = data.images.batch(o.batch, o.crop, generator, self.augmentation)
            level = self.draw_qualities(o.batch, generator)
            return self.read(x, level), self.taught(x, targets)
        pick = torch.randint(len(data.views), (o.batch,), generator=generator)
        y = data.views[pick.to(self.device)].float()
        targets = data.targets[pick].to(self.device).float()
        if o.augment == "full":  # the part of the augmentation that works on latents
            with drawing_from(generator):
                y, targets = mixed(windows(y).permute(0, 3, 1, 2), targets)
            y = y.permute(0, 2, 3, 1)
        return y, targets

    def sizes_vary(self) -> bool:
        """Yes if steps use random parts of views, see `windows`."""
        return self.options.views > 0 and self.options.augment == "full"

    def example(self) -> tuple[Tensor, Tensor]:
        """Random latents or patches, and random targets."""
        o, side = self.options, self.options.crop // STRIDE_Y
        maps = torch.rand(o.batch, side, side, self.config.channels, device=self.device)
        targets = torch.rand(o.batch, len(self.config.labels), device=self.device)
        return maps, targets.softmax(1)

    def forward(self, *batch: Any) -> HeadLoss:
        """The cross entropy of a batch, see `batch`."""
        y, targets = batch
        with self.autocast():
            logits = self.model(y).float()
        loss = cross_entropy(logits, targets, label_smoothing=self.options.smoothing)
        right = (logits.argmax(1) == targets.argmax(1)).float().mean()
        return HeadLoss(loss, right)

    @torch.no_grad()
    def validate(self, data: HeadData) -> list[Row]:
        """Accuracy on held-out images at a few qualities."""
        self.average.eval()
        classes = data.images.targets[data.images.validation].to(self.device)
        rows = []
        for quality, every in data.held.items():
            with self.autocast():
                logits = torch.cat([self.average(y.float()).float() for y in every.split(BATCH)])
            best = logits.topk(min(5, logits.shape[1])).indices == classes[:, None]
            shares = {"top1": best[:, 0], "top5": best.any(1)}
            shown = {name: round(float(hit.float().mean()), 4) for name, hit in shares.items()}
            rows.append(({"quality": quality} if self.frozen else {}) | shown)
        return rows

    @classmethod
    def config_from(cls, fields: dict[str, Any]) -> HeadConfig:
        """The config of the classifier, from the fields in a checkpoint."""
        return HeadConfig.from_dict(fields)

    @classmethod
    def training_of(cls, config: HeadConfig, options: TrainOptions) -> Training:
        """The kind of training, which depends on what the classifier reads."""
        return Training.PIXELS if config.stem == "pixels" else Training.HEAD

    @classmethod
    def beginning(cls, request: Request) -> Beginning:
        """A new Transformer of the size in the request, or the classifier of `init`.

        If the classifier of `init` reads something else, the new one gets all its layers except
        the first. A new first layer is fitted to imitate the old one.
        """
        if request.dimensions:
            raise UsageError(f"a classifier has no {', '.join(request.dimensions)}")
        training = Training.HEAD if request.head else Training.PIXELS
        options = TrainOptions.of(training, request.options)
        labels = labels_of(request.data)
        classifier = find_classifier(request.init) if request.init else None
        name = request.vit if request.head else request.model
        size = VITS[name] if name else None
        if classifier is not None:
            given = classifier.config.vit
            if size is not None and replace(size, grid=given.grid) != given:
                message = f"the Transformer of `init` {request.init} is not of the size {name}"
                raise UsageError(message)
            size = given
        if request.head:
            config = config_for_latents(request.model, size, labels)
        else:
            config = HeadConfig("pixels", PATCH, size or VITS["vit"], labels)
        grid = options.crop // STRIDE_Y  # position embeddings fit one size of crops
        config = replace(config, vit=replace(config.vit, grid=grid))
        if classifier is None:
            return Beginning(config, options)
        floats, source = classifier.floats, None
        read = classifier.config
        if (read.stem, read.fingerprint) != (config.stem, config.fingerprint):
            floats = without(floats, FIRST, HALVE)
            source = classifier.source(request.device)
        if read.labels != labels:
            floats = without_labels(floats)
        return Beginning(config, options, on_grid(floats, grid), classifier.history, source)


def config_for_latents(
    model: str | None, size: ViTConfig | None, labels: tuple[str, ...]
) -> HeadConfig:
    """A config for a classifier of the latents of installed weights.

    Args:
        model: name of the installed weights. None means the default ones.
        size: dimensions of the Transformer. None means those that are usual for the model.
        labels: the classes.
    """
    entry = weights.find(model)
    codec = config_from(weights.read(entry)[0])
    usual = codec.vit or default_head(entry.model)
    return HeadConfig(
        "latents",
        channels=codec.M,
        vit=size or usual,
        labels=labels,
        codec=entry.name,
        fingerprint=entry.fingerprint.hex(),
        halving=True,
    )
