"""`python -m dapoctl`, the same as `dapoctl`."""

import sys

from dapoctl.cli import main

if __name__ == "__main__":
    sys.exit(main())
