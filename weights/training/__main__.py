"""`torchrun ... -m ticodec.weights.training OPTIONS`: `ticodec train OPTIONS`, in every process.

torchrun starts modules by name. Nothing imports this one, so that training itself stays free
of the command line, whose options, messages and exit codes these are.
"""

import sys

from ticodec.cli.app import main

if __name__ == "__main__":
    sys.argv.insert(1, "train")
    main()
