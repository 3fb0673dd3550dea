"""Runs the configurations of the exactness test that share one environment, in one process.

Reads the latents.npz of each model. Writes reference.npz, or reads it if it exists. Prints the
hashes of each configuration as JSON.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import torch

from ticodec import weights
from ticodec.codec import Codec
from ticodec.entropy.coder import EntropyCoder
from ticodec.entropy.icat_rows import IcatLatentCoder, mean_scale, run_rows
from ticodec.entropy.tic_context import SCALE_BITS, scale_indexes
from ticodec.entropy.wavefront import Map, run_wavefront
from ticodec.training.export.compile_tic import neighbourhoods


def digest(*arrays: np.ndarray | bytes) -> str:
    """One hash of all arrays together."""
    total = hashlib.sha256()
    for array in arrays:
        total.update(array if isinstance(array, bytes) else np.ascontiguousarray(array).tobytes())
    return total.hexdigest()[:16]


def parameters(coder: EntropyCoder, y: torch.Tensor, z_symbols: np.ndarray, whole: bool):
    """(means, scale indexes, ŷ) of every position.

    Args:
        whole: whether means and indexes are computed in one pass over the known ŷ, instead of step
            by step.
    """
    z_size = [side // coder.z_to_y for side in y.shape[:2]]
    height, width, m = y.shape
    flat = y.reshape(-1, m).double().to(coder.device)
    means = torch.zeros_like(flat)
    indexes = torch.zeros_like(flat)

    def code(positions, mean, index):
        means[positions], indexes[positions] = mean, index.double()
        return torch.round(flat[positions] - mean)

    z = coder.z_hat(z_symbols, *z_size)
    if isinstance(coder.latents, IcatLatentCoder):
        y_hat = run_rows(coder.ops, z, coder.thresholds, code)
        if whole:
            means, scales = (part.reshape(-1, m) for part in mean_scale(coder.ops, z[None]))
            means, indexes = means / 256, scale_indexes(scales, coder.thresholds).double()
        return means, indexes, y_hat
    context, hyper = coder.latents.context, coder.latents.hyper(z)
    [y_hat] = run_wavefront(context, coder.thresholds, [Map(hyper, height, width, code)])
    if whole:
        near, near_y = neighbourhoods(context, y_hat.reshape(1, height, width, m))
        means, scales = context.predict(near, near_y, hyper)
        means, indexes = means / 256, scale_indexes(scales, coder.thresholds).double()
    return means, indexes, y_hat


@torch.inference_mode()
def hashes(model: str, folder: Path, options: dict) -> dict:
    """Hashes of the streams, the decoded reference, the parameters, and float32 parameters."""
    latents = np.load(folder / "latents.npz")
    y, z = torch.from_numpy(latents["y"]), torch.from_numpy(latents["z"])
    codec = Codec(weights.find(model), "cpu", bf16=False)
    coder = codec.entropy
    if options.get("cuda"):
        tensors = weights.read(codec.entry)[1]
        exact = {k[6:]: v for k, v in tensors.items() if k.startswith("exact.")}
        coder = EntropyCoder(codec.config, exact, torch.device("cuda"))

    coded = coder.encode(y, z)
    reference = folder / "reference.npz"
    if not reference.exists():
        np.savez(reference, z=np.frombuffer(coded.z_stream, np.uint8),
                 y=np.frombuffer(coded.y_stream, np.uint8))  # fmt: skip
    stored = np.load(reference)
    height, width = z.shape[:2]
    decoded = coder.decode(stored["z"].tobytes(), stored["y"].tobytes(), height, width)

    rounded = z.double().round().numpy().astype(np.int64).reshape(-1, codec.config.N)
    whole = options.get("whole", False)
    means, indexes, y_hat = parameters(coder, y, rounded - coder.centres, whole)

    # Means and indexes from ordinary float32 modules, as in every published codec.
    network = codec.network
    known = y_hat.cpu().reshape(1, *y.shape).float() / 256
    scales, float_means = network.prediction(z.round()[None].float(), known)
    float_indexes = scale_indexes(scales.double() * 2**SCALE_BITS, codec.entropy.thresholds)
    return {
        "streams": digest(coded.z_stream, coded.y_stream),
        "decoded": digest(*decoded.symbols, decoded.y_hat.numpy()),
        "parameters": digest(means.cpu().numpy(), indexes.cpu().numpy()),
        "float32": digest((float_means * 256).round().numpy(), float_indexes.numpy()),
    }


def main(folder: Path, options: dict) -> dict:
    """The hashes of each model that has a subfolder of `folder`."""
    torch.set_num_threads(options.get("threads", 2))
    torch.backends.mkldnn.set_flags(not options.get("no_onednn"))
    return {model.name: hashes(model.name, model, options) for model in sorted(folder.iterdir())}


if __name__ == "__main__":
    print(json.dumps([main(Path(sys.argv[1]), options) for options in json.loads(sys.argv[2])]))
