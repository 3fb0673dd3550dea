"""The CAM equals the published computation, and is causal, in float and in the entropy coder."""

from __future__ import annotations

import pytest
import torch

from ticodec.entropy.wavefront import Map, run_wavefront, steps
from ticodec.models.cam import NEIGHBOURS, CausalAttention, context_modules
from ticodec.models.families import preset


def later(i: int, j: int, height: int, width: int) -> set[tuple[int, int]]:
    """The positions that have (i, j) among their 12 earlier neighbours."""
    places = {(i - dy, j - dx) for dy, dx in NEIGHBOURS}
    return {(y, x) for y, x in places if 0 <= y < height and 0 <= x < width}


def literal(cam: CausalAttention, y_hat: torch.Tensor) -> torch.Tensor:
    """The CAM as in the paper: masked full attention over 25 tokens per position, then a sum."""
    b, h, w, m = y_hat.shape
    padded = torch.nn.functional.pad(y_hat, (0, 0, 2, 2, 2, 2))
    windows = padded.unfold(1, 5, 1).unfold(2, 5, 1).permute(0, 1, 2, 4, 5, 3)  # (B,h,w,5,5,M)
    mask = (torch.arange(25) < 12).float()[:, None]
    tokens = windows.reshape(b, h, w, 25, m) * mask
    q, k, v = cam.qkv(cam.norm1(tokens)).chunk(3, -1)
    split = lambda t: t.unflatten(-1, (cam.heads, m // cam.heads)).transpose(-3, -2)  # noqa: E731
    place = torch.arange(25)
    dy, dx = (place[:, None] // 5 - place // 5), (place[:, None] % 5 - place % 5)
    bias = cam.bias_table[(dy + 4) * 9 + dx + 4].permute(2, 0, 1)
    scores = split(q) @ split(k).transpose(-2, -1) * (m // cam.heads) ** -0.5 + bias
    attended = (scores.softmax(-1) @ split(v)).transpose(-3, -2).flatten(-2)
    x = (attended + tokens).sum(-2)
    x = x + cam.mlp2(torch.nn.functional.gelu(cam.mlp1(cam.norm2(x))))
    return cam.out(x)


@pytest.fixture(scope="module")
def cam() -> CausalAttention:
    torch.manual_seed(3)
    module, _ = context_modules(preset("tic-lite", M=32))
    torch.nn.init.normal_(module.bias_table)
    torch.nn.init.normal_(module.qkv.weight, std=0.3)
    torch.nn.init.normal_(module.norm1.bias)
    return module.double().eval()


@torch.no_grad()
def test_cam_is_the_published_computation(cam: CausalAttention) -> None:
    y_hat = torch.randn(2, 6, 7, 32, dtype=torch.float64) * 3
    # The efficient form computes the softmax in float32, so the values are not closer.
    torch.testing.assert_close(cam(y_hat), literal(cam, y_hat), rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_cam_sees_exactly_the_12_earlier_neighbours(cam: CausalAttention) -> None:
    height, width = 7, 8
    y_hat = torch.randn(1, height, width, 32, dtype=torch.float64)
    before = cam(y_hat)
    for i, j in [(2, 3), (0, 0), (6, 7), (3, 0), (4, 7)]:
        changed = y_hat.clone()
        changed[0, i, j] += torch.randn(32, dtype=torch.float64)
        moved = (cam(changed) != before).any(-1)[0]
        assert {(y, x) for y, x in moved.nonzero().tolist()} == later(i, j, height, width)
    assert len(later(2, 3, height, width)) == 12


def parameters_along(codec, y_hat: torch.Tensor, hyper: torch.Tensor) -> torch.Tensor:
    """Means and scale indexes of every position if the coded latents are `y_hat`."""
    height, width, m = y_hat.shape
    seen = torch.zeros(height * width, 2 * m, dtype=torch.float64)
    flat = y_hat.reshape(-1, m)

    def force(positions, means, indexes):
        seen[positions] = torch.cat([means, indexes.double()], -1)
        return flat[positions] - means  # symbol + mean is then the wanted latent

    coder = codec.entropy
    run_wavefront(coder.latents.context, coder.thresholds, [Map(hyper, height, width, force)])
    return seen.reshape(height, width, 2 * m)


@torch.no_grad()
def test_coded_path_sees_exactly_the_12_earlier_neighbours(tiny) -> None:
    height, width, m = 8, 12, tiny.config.M
    generator = torch.Generator().manual_seed(5)
    y_hat = torch.randn(height, width, m, generator=generator, dtype=torch.float64).round() * 3
    z = torch.zeros(2 * 3, tiny.config.N).long().numpy()
    hyper = tiny.entropy.latents.hyper(tiny.entropy.z_hat(z, 2, 3))
    before = parameters_along(tiny, y_hat, hyper)
    for i, j in [(3, 5), (0, 0), (7, 11), (4, 0), (2, 11)]:
        changed = y_hat.clone()
        changed[i, j] += torch.randint(1, 9, (m,), generator=generator)
        moved = (parameters_along(tiny, changed, hyper) != before).any(-1)
        assert {(y, x) for y, x in moved.nonzero().tolist()} == later(i, j, height, width)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (4, 3), (32, 48)])
def test_steps_visit_every_position_once_after_its_neighbours(size: tuple[int, int]) -> None:
    height, width = size
    when = torch.full((height, width), -1)
    for t, positions in enumerate(steps(height, width)):
        assert len(positions), "no empty steps"
        assert (when.flatten()[positions] == -1).all()
        when.flatten()[positions] = t
    assert (when >= 0).all()
    for i in range(height):
        for j in range(width):
            for y, x in later(i, j, height, width):
                assert when[y, x] > when[i, j]
