"""The network of a config."""

from __future__ import annotations

from .config import Config, IcatConfig
from .icat import Icat
from .tic import Network

#: Any network that codes.
AnyNetwork = Network | Icat


def build(config: Config) -> AnyNetwork:
    """A network with random weights."""
    return Icat(config) if isinstance(config, IcatConfig) else Network(config)
