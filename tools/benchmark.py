"""``cvrl benchmark`` as a script; see cvrl/cli/benchmark.py."""

from cvrl.cli.benchmark import main
from cvrl.utils.errors import run_tool

if __name__ == "__main__":
    run_tool(main)
