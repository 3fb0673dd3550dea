"""The networks: dimensions (`config`), building blocks, and the whole (`network`)."""
