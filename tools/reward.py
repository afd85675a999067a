"""``cvrl reward`` as a script; see cvrl/cli/reward.py."""

from cvrl.cli.reward import main
from cvrl.utils.errors import run_tool

if __name__ == "__main__":
    run_tool(main)
