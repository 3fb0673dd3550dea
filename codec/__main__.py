"""Runs the command line for `python -m ticodec`, and for `torchrun … -m ticodec train`."""

from ticodec.cli.start import main

if __name__ == "__main__":
    main()
