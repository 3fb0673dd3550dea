"""`python -m ticodec`: the command line, also for torchrun: `torchrun … -m ticodec train`."""

from ticodec.cli.start import main

if __name__ == "__main__":
    main()
