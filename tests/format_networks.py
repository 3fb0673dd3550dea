"""The integer networks of `docs/format.md`, for `format_decoder`: plain NumPy, in doubles.

All numbers are integers in float64. NumPy's float64 operations are single IEEE operations, and
every sum of products is exact, as the document says.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Maps = NDArray[np.float64]

NARROW, WIDE, LONG, SCALE_LIMIT = 2**15 - 1, 2**18 - 1, 2**24 - 1, 2**21
GRID_Y, GRID_NORM = 8, 11
#: (row, column) of the 12 neighbours, relative to the position.
NEIGHBOURS = [(n // 5 - 2, n % 5 - 2) for n in range(12)]


class Weights(NamedTuple):
    """A weights file: its config, its integer tensors without `exact.`, and all tensors."""

    config: dict[str, Any]
    exact: dict[str, NDArray[Any]]
    tensors: dict[str, NDArray[Any]]

    def frac(self, layer: str) -> int:
        return int(self.exact[layer + ".frac"])


# -- arithmetic ---------------------------------------------------------------------


def rounded(x: Maps, shift: int, limit: int) -> Maps:
    """x · 2^shift, rounded half to even and clamped to ±limit."""
    return np.clip(np.rint(x * 2.0**shift), -limit, limit)


def unrounded(weights: Weights, name: str, x: Maps) -> Maps:
    """The exact outputs (…, out) of a layer for x (…, in), before rounding."""
    weight = weights.exact[name + ".weight"].astype(np.float64)
    bias = weights.exact[name + ".bias"].astype(np.float64)
    exponent = weights.exact[name + ".exponent"].astype(np.int32)
    return np.ldexp(x @ weight.T + bias, exponent)


def linear(weights: Weights, name: str, x: Maps, limit: int = NARROW) -> Maps:
    return rounded(unrounded(weights, name, x), 0, limit)


def near(x: Maps, side: int) -> Maps:
    """The channels of the side × side positions around each position of a map."""
    h, w, _ = x.shape
    reach = side // 2
    x = np.pad(x, ((reach, reach), (reach, reach), (0, 0)))
    return np.concatenate([x[i : i + h, j : j + w] for i in range(side) for j in range(side)], -1)


def spread(x: Maps) -> Maps:
    h, w, c = x.shape
    out = np.zeros((2 * h, 2 * w, c))
    out[::2, ::2] = x
    return out


def leaky(x: Maps) -> Maps:
    return np.where(x < 0, np.rint(x * 328 / 2**15), x)


def norm(x: Maps, frac: int) -> Maps:
    c = x.shape[-1]
    s, q = x.sum(-1, keepdims=True), (x * x).sum(-1, keepdims=True)
    epsilon = max(1.0, round(1e-5 * c * c * 4.0**frac))
    return rounded((c * x - s) / np.sqrt(c * q - s * s + epsilon), GRID_NORM, NARROW)


def softmax(weights: Weights, s: Maps) -> Maps:
    """The softmax over the last axis."""
    below = np.minimum(s.max(-1, keepdims=True) - s, 16383).astype(np.int64)
    e = weights.exact["exp"][below].astype(np.float64)
    return np.rint(e * 2.0**15 / e.sum(-1, keepdims=True))


def gelu_of(weights: Weights, x: Maps, frac: int) -> Maps:
    curve = weights.exact["gelu"][:: 2 ** (11 - frac)].astype(np.float64)
    table = np.append(rounded(curve, frac - 15, NARROW), 0)
    index = np.minimum(np.abs(x), len(table) - 1).astype(np.int64)
    return np.maximum(x, 0) + table[index]


def mlp(weights: Weights, name: str, x: Maps, frac: int, limit: int, spare: int) -> Maps:
    a = norm(rounded(x, -spare, WIDE), frac - spare)
    a = gelu_of(weights, linear(weights, name + ".mlp1", a), weights.frac(name + ".mlp1"))
    return np.clip(x + linear(weights, name + ".mlp2", a, limit), -limit, limit)


def scores(q: Maps, k: Maps, frac: int) -> Maps:
    """Scores of every query with every key, from q (…, queries, d) and k (…, keys, d)."""
    return np.rint(q @ np.swapaxes(k, -1, -2) * 2.0 ** (10 - 2 * frac))


# -- hyper-synthesis ----------------------------------------------------------------


def hyper_synthesis(weights: Weights, z_hat: Maps) -> Maps:
    """The 2M features of each position of y, from ẑ."""
    c = weights.config
    window = c["hyper_window"]
    x = np.clip(z_hat, -NARROW, NARROW)
    for s in (1, 0):
        name = f"h_s.up{s}"
        x = linear(weights, name, near(spread(x), 3), WIDE)
        if c["hyper_activation"] == "leaky_relu":
            x = leaky(x)
        h, w, _ = x.shape
        y = np.pad(x, ((0, -h % window), (0, -w % window), (0, 0)), "edge")
        for i in range(c["hyper_depths"][s]):
            shift = window // 2 if i % 2 else 0
            layer, frac = f"h_s.stb{s}.{i}", weights.frac(name)
            y = swin(weights, layer, y, c["hyper_heads"][s], frac, shift)
        x = np.clip(x + y[:h, :w], -WIDE, WIDE)
    return linear(weights, "h_s.out", near(x, 3), LONG)


def regions(size: int, window: int) -> NDArray[np.int64]:
    at = np.arange(size)
    return np.where(at < size - window, 0, np.where(at < size - window // 2, 1, 2))


def swin(weights: Weights, name: str, x: Maps, heads: int, frac: int, shift: int) -> Maps:
    """One Swin layer on a map whose sides are multiples of the window."""
    h, w, channels = x.shape
    window = weights.config["hyper_window"]
    tokens, d = window * window, channels // heads
    moved = np.roll(norm(x, frac), (-shift, -shift), (0, 1))
    row, column = regions(h, window), regions(w, window)
    out = np.zeros_like(x)
    for top in range(0, h, window):
        for left in range(0, w, window):
            inside = np.s_[top : top + window, left : left + window]
            qkv = linear(weights, name + ".qkv", moved[inside].reshape(tokens, channels))
            q, k, v = qkv.reshape(tokens, 3, heads, d).transpose(1, 2, 0, 3)  # (heads, T, d)
            s = scores(q, k, weights.frac(name + ".qkv")) + weights.exact[name + ".bias"]
            if shift:
                region = row[top : top + window, None] * 3 + column[left : left + window]
                apart = region.reshape(-1, 1) != region.reshape(1, -1)
                s = np.where(apart, -(2.0**40), s)
            r = rounded(softmax(weights, s) @ v, -15, NARROW)
            r = r.transpose(1, 0, 2).reshape(tokens, channels)
            projected = linear(weights, name + ".proj", r, WIDE)
            out[inside] = projected.reshape(window, window, channels)
    out = np.roll(out, (shift, shift), (0, 1))
    return mlp(weights, name, np.clip(x + out, -WIDE, WIDE), frac, WIDE, 0)


def joint_parameters(weights: Weights, z_hat: Maps) -> tuple[Maps, Maps]:
    """Means and scales of all latents of `icat`."""
    x = np.clip(z_hat, -NARROW, NARROW)
    x = leaky(linear(weights, "h_s.in", near(x, 5), LONG))
    x = leaky(linear(weights, "h_s.up", near(spread(x), 5), LONG))
    means = linear(weights, "h_s.means", near(x, 3), WIDE)
    return means, linear(weights, "h_s.scales", near(x, 3), SCALE_LIMIT)


# -- the context model --------------------------------------------------------------


class Context:
    """The context model, which predicts a position from its neighbours.

    Maps have a border of 2 zero tokens.
    """

    def __init__(self, weights: Weights, features: Maps) -> None:
        self.weights = weights
        self.M, self.heads = weights.config["M"], weights.config["cam_heads"]
        self.hyper = unrounded(weights, "head.hyper", features)
        h, w = features.shape[:2]
        self.zero = self.token(np.zeros(self.M))
        self.tokens = np.tile(self.zero, (h + 4, w + 4, 1))
        self.known = np.zeros((h + 4, w + 4, self.M))

    def token(self, y_hat: Maps) -> Maps:
        return linear(self.weights, "cam.qkv", norm(np.clip(y_hat, -WIDE, WIDE), GRID_Y))

    def set(self, i: int, j: int, y_hat: Maps) -> None:
        """Store the ŷ (M,) of a position once it is decoded."""
        self.known[i + 2, j + 2] = y_hat
        self.tokens[i + 2, j + 2] = self.token(y_hat)

    def y_hat(self) -> Maps:
        return self.known[2:-2, 2:-2].copy()

    def parameters(self, i: int, j: int) -> tuple[Maps, Maps]:
        """Mean and scale (M,) of a position."""
        weights, frac = self.weights, self.weights.frac("cam")
        places = [(i + 2 + di, j + 2 + dj) for di, dj in NEIGHBOURS]
        tokens = np.stack([self.tokens[place] for place in places] + [self.zero])
        qkv = tokens.reshape(13, 3, self.heads, -1).transpose(1, 2, 0, 3)  # (3, heads, 13, d)
        a = self.attention(*qkv)
        x = rounded(sum(self.known[place] for place in places), frac - GRID_Y, LONG)
        shift = frac - 15 - weights.frac("cam.qkv")
        x = np.clip(x + rounded(a, shift, LONG), -LONG, LONG)
        x = mlp(weights, "cam", x, frac, LONG, 6)

        b = rounded(self.hyper[i, j] + unrounded(weights, "head.context", x), 0, LONG)
        b = gelu_of(weights, b, weights.frac("head.context"))
        b = linear(weights, "head.conv2", b, LONG)
        b = gelu_of(weights, b, weights.frac("head.conv2"))
        scale = linear(weights, "head.scales", b, SCALE_LIMIT)
        return linear(weights, "head.means", b, WIDE), scale

    def attention(self, q: Maps, k: Maps, v: Maps) -> Maps:
        """The output (M,) before rounding, from q, k and v, (heads, 13, d) each."""
        s = scores(q, k, self.weights.frac("cam.qkv"))
        s = s[:, [min(query, 12) for query in range(25)]] + self.weights.exact["cam.bias"]
        p = softmax(self.weights, s).sum(1, keepdims=True)  # over the queries: (heads, 1, 13)
        return (p @ v).reshape(self.M)
