"""The networks: dimensions (`config`), families (`families`), building blocks and whole models."""
