"""The network of a config."""

from __future__ import annotations

from .analysis_config import IcatConfig
from .config import Config
from .icat import Icat
from .network import Network

#: Any network that codes.
AnyNetwork = Network | Icat


def build(config: Config) -> AnyNetwork:
    """A network with random weights."""
    return Icat(config) if isinstance(config, IcatConfig) else Network(config)
