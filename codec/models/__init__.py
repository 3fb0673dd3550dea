"""The networks: their dimensions (`config`), families (`families`), layers and whole models."""
