"""python -m kwapi.simulator is the command kwapi-simulator."""

import sys

from kwapi.simulator.app import main

if __name__ == "__main__":
    sys.exit(main())
