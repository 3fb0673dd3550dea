"""The hyper-synthesis of TIC in C. It gives the same numbers as `entropy.tic_hyper`, faster.

    Ops (torch) ──► pack ──► weights                    once per model
    ẑ ─────────────────────► run ──► hidden             once per image

`hidden` is the input of the last layer of h_s. The wavefront applies this layer. `hyper.h` has the
data flow.

A transposed convolution becomes four layers: one for each combination of even or odd rows with even
or odd columns of the output. Each layer reads only the taps that do not meet zeros. A Swin layer
with shifted windows has four tables of position biases, which contain the masks of the windows at
the edges.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ticodec.entropy.exact import EXP_SIZE, NARROW, SCORE_BITS, WIDE, Ops
from ticodec.models.attention import shift_regions
from ticodec.models.config import ModelConfig

from .pack import BLOCK, Layer, TorchOnlyError, head_lanes, int32, pack
from .team import run_team

#: The most tokens of a window, as in layers.h.
MOST_TOKENS = 64
#: LayerNorm is exact up to this many channels, see `Ops.norm`.
MOST_CHANNELS = 362
#: MASKED is the bias of a masked pair of tokens. The absolute values of all other scores are below
#: LARGEST, so the exp of a masked score is the table's last entry, as with NEVER in exact.py.
MASKED, LARGEST = -(2**31), 2**29
#: The rows of the 3 × 3 taps of a transposed convolution that do not meet zeros, first for an even
#: row of the output, then for an odd row. The same holds for columns.
TAPS = ((1,), (0, 2))


class NativeHyper:
    """All layers of h_s but the last, packed for the extension.

    Args:
        module: the extension.
        ops: the compiled layers.
        config: the network's dimensions.
        instructions: the set to use, one of `module.INSTRUCTIONS`. By default the fastest.

    Raises ValueError if this processor lacks the instructions, TorchOnlyError if the weights have
    numbers that only the torch path accepts, and ValueError, IndexError or BufferError if the
    weights do not fit the model.
    """

    def __init__(
        self, module: ModuleType, ops: Ops, config: ModelConfig, instructions: str | None = None
    ) -> None:
        self.module, self.config = module, config
        if config.hyper_window**2 > MOST_TOKENS or config.N > MOST_CHANNELS:
            raise TorchOnlyError("the windows or the channels are too many")
        self.weights = module.hyper(
            (config.N, config.hyper_window, config.hyper_activation == "leaky_relu"),
            tuple(_stage(ops, config, stage) for stage in (1, 0)),
            int32(ops.exp[:EXP_SIZE]),
            instructions,
        )

    @classmethod
    def of(cls, module: ModuleType, ops: Ops, config: ModelConfig) -> NativeHyper | None:
        """A `NativeHyper`, or None if only the torch path accepts these weights."""
        try:
            return cls(module, ops, config)
        except TorchOnlyError:
            return None

    def run(self, z_hat: Tensor) -> Tensor:
        """ẑ (h/4, w/4, N), integers, to `tic_hyper.hidden` (h·w, N), integers in float32.

        The results have 19 bits, so float32 holds them exactly. Raises KeyboardInterrupt.
        """
        height, width = z_hat.shape[:2]
        z = z_hat.clamp(-NARROW, NARROW).to(torch.int16).contiguous().numpy()
        hidden = np.empty((16 * height * width, self.config.N), np.float32)
        size = (height, width)
        run_team(
            self.module,
            lambda count: self.module.synthesis(self.weights, size, z, hidden, count),
        )
        return torch.from_numpy(hidden)


def _stage(ops: Ops, c: ModelConfig, stage: int) -> tuple[Any, ...]:
    """The tuple that `read_stage` in module_hyper.c reads.

    It has the number of heads, the four layers of the transposed convolution, the Swin layers, and
    LayerNorm's epsilon.
    """
    up, frac = f"h_s.up{stage}", int(ops.parameters[f"h_s.up{stage}.frac"])
    places = np.arange(9 * c.N).reshape(3, 3, c.N)
    parities = tuple(
        pack(ops, up, WIDE, c.N, inputs=places[np.ix_(rows, columns)].flatten(), width=9 * c.N)
        for rows in TAPS
        for columns in TAPS
    )
    heads = c.hyper_heads[stage]
    layers = tuple(
        _swin_layer(ops, c, f"h_s.stb{stage}.{i}", heads, frac, shifted=i % 2 == 1)
        for i in range(c.hyper_depths[stage])
    )
    return heads, parities, layers, ops.epsilon(c.N, frac)


def _swin_layer(
    ops: Ops, c: ModelConfig, name: str, heads: int, frac: int, shifted: bool
) -> tuple[Any, ...]:
    """The tuple that `read_swin` in module_hyper.c reads.

    It has the linear layers, the width of the hidden layer, its GELU table, whether windows are
    shifted, the position biases, and the factor from q · k to scores.
    """
    fracs = {k: int(ops.parameters[f"{name}.{k}.frac"]) for k in ("qkv", "proj", "mlp1", "mlp2")}
    if fracs["proj"] != frac or fracs["mlp2"] != frac:
        raise ValueError("a residual is on another grid")
    factor = 2.0 ** (SCORE_BITS - 2 * fracs["qkv"])
    bias = ops.parameters[f"{name}.bias"].cpu().numpy().astype(np.int64)
    if bias.shape != (heads, c.hyper_window**2, c.hyper_window**2):
        raise ValueError(f"{name} has the wrong number of biases")
    if c.N // heads * NARROW**2 * factor + np.abs(bias).max() >= LARGEST:
        raise TorchOnlyError("scores could be too large for masks")
    order = head_lanes(c.N, heads)
    layers: tuple[Layer, ...] = (
        pack(ops, f"{name}.qkv", NARROW, order=order),
        pack(ops, f"{name}.proj", WIDE, c.N, inputs=order[: len(order) // 3], width=c.N),
        pack(ops, f"{name}.mlp1", NARROW),
        pack(ops, f"{name}.mlp2", WIDE, c.N),
    )
    hidden = len(ops.parameters[f"{name}.mlp1.weight"])
    curve = int32(ops.gelu_table(fracs["mlp1"]))
    return layers, hidden, (curve,), shifted, _biases(bias, c.hyper_window, shifted), factor


def _biases(bias: NDArray[np.int64], window: int, shifted: bool) -> NDArray[np.int32]:
    """Position biases (heads, T, T) to [patterns][groups][T][T][16], with masks.

    The four windows of a map of 2 × 2 windows show all patterns: inside, in the last column, in
    the last row, in both.
    """
    heads, tokens = bias.shape[:2]
    groups = -(-heads // BLOCK)
    lanes = np.zeros((groups * BLOCK, tokens, tokens), np.int64)
    lanes[:heads] = bias
    lanes = lanes.reshape(groups, BLOCK, tokens, tokens).transpose(0, 2, 3, 1)[None]
    if shifted and window // 2:
        regions = shift_regions(2 * window, 2 * window, window).numpy()
        apart = regions[:, :, None] != regions[:, None, :]  # (4, T, T)
        lanes = np.where(apart[:, None, :, :, None], MASKED, lanes)
    return np.ascontiguousarray(lanes, np.int32)
