"""The list of codecs that ticodec is measured against. Imports none of them.

A new peer is a subclass of `Coder` in a module of this folder, and an entry of `PEERS`. The help
of `--against` is made from these entries, and so is the table in docs/evaluation.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from ticodec.errors import UsageError

if TYPE_CHECKING:
    from ticodec.evaluation.coder import Coder


@dataclass(frozen=True)
class Peer:
    """A codec to measure against.

    Args:
        where: "module:class" within this folder. The class is called without arguments.
        needs: what it needs to run, in Markdown, for the table in docs/evaluation.md.
        usual: whether it is measured by default.
    """

    where: str
    needs: str
    usual: bool = False

    def load(self) -> type[Coder]:
        """Import and return the class."""
        module, name = self.where.split(":")
        return getattr(import_module(f"{__name__}.{module}"), name)  # type: ignore[no-any-return]


PILLOW = "Pillow, which ticodec needs anyway"
COMPRESSAI = "Python 3.11 or 3.12, and CompressAI, which downloads its weights"

PEERS = {
    "jpeg": Peer("pillow:Jpeg", PILLOW, usual=True),
    "webp": Peer("pillow:WebP", PILLOW, usual=True),
    "avif": Peer("pillow:Avif", PILLOW, usual=True),
    "jpeg2000": Peer("pillow:Jpeg2000", PILLOW, usual=True),
    "jpegxl": Peer("jpegxl:JpegXl", "`pip install 'ticodec[jxl]'`"),
    "bpg": Peer("programs:Bpg", "`bpgenc` and `bpgdec` on the PATH"),
    "vtm": Peer(
        "programs:Vtm",
        "VTM's `EncoderApp` and `DecoderApp` on the PATH; `VTM_CFG` names its "
        "`encoder_intra_vtm.cfg`",
    ),
    "bmshj2018-factorized": Peer("compressai_peers:Factorized", COMPRESSAI),
    "bmshj2018-hyperprior": Peer("compressai_peers:Hyperprior", COMPRESSAI),
    "mbt2018-mean": Peer("compressai_peers:MeanScale", COMPRESSAI),
    "mbt2018": Peer("compressai_peers:Autoregressive", COMPRESSAI),
    "cheng2020-anchor": Peer("compressai_peers:ChengAnchor", COMPRESSAI),
    "cheng2020-attn": Peer("compressai_peers:ChengAttention", COMPRESSAI),
}
#: Names of the peers that are measured by default.
USUAL = tuple(name for name, peer in PEERS.items() if peer.usual)


def make_peer(name: str) -> Coder:
    """A new coder of that name. Raises UsageError if it is unknown or something is missing."""
    if name not in PEERS:
        raise UsageError(f"unknown codec {name!r}; known: {', '.join(PEERS)}")
    return PEERS[name].load()()
