"""``cvrl evaluate`` as a script; see cvrl/cli/evaluate.py."""

from cvrl.cli.evaluate import main
from cvrl.utils.errors import run_tool

if __name__ == "__main__":
    run_tool(main)
