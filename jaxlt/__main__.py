"""`python -m jaxlt VERB ...` does what the console script `jaxlt` does."""

import sys

from jaxlt.commands.main import main

if __name__ == "__main__":
    sys.exit(main())
