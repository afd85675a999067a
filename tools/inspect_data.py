"""``cvrl inspect`` as a script; see cvrl/cli/inspect.py."""

from cvrl.cli.inspect import main
from cvrl.utils.errors import run_tool

if __name__ == "__main__":
    run_tool(main)
