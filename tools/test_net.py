"""``cvrl test`` as a script; see cvrl/cli/test.py."""

from cvrl.cli.test import main
from cvrl.utils.errors import run_tool

if __name__ == "__main__":
    run_tool(main)
