"""What is asked of a failure."""

import argparse


def read(words):
    parser = argparse.ArgumentParser(prog="cloudist pdb")
    parser.add_argument("directory")
    parser.add_argument("--worker")
    parser.add_argument("--test", dest="nodeid")
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--alone", action="store_true")
    parser.add_argument("--bisect", action="store_true")
    parser.add_argument("--judge", type=int)
    parser.add_argument("--trace", action="store_true")
    return parser.parse_args(words)
