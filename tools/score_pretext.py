"""``cvrl pretext`` as a script; see cvrl/cli/pretext.py."""

from cvrl.cli.pretext import main
from cvrl.utils.errors import run_tool

if __name__ == "__main__":
    run_tool(main)
