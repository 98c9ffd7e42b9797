"""`python -m roundtrip` is the same as `roundtrip`."""

import sys

from roundtrip.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
