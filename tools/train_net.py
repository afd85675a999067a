"""``cvrl train`` as a script; see cvrl/cli/train.py."""

from cvrl.cli.train import main
from cvrl.utils.errors import run_tool

if __name__ == "__main__":
    run_tool(main)
