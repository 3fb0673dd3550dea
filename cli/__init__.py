"""The command line: one file per command. It handles arguments and shows results, no more."""
