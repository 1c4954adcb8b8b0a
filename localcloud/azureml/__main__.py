"""`python -m localcloud.azureml`: the emulator by itself."""

import argparse
import sys

from localcloud.azureml import command


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m localcloud.azureml", description=command.__doc__)
    command.add_arguments(parser)
    return command.run(parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
