"""``cvrl study`` as a script; see cvrl/cli/study.py."""

from cvrl.cli.study import main
from cvrl.utils.errors import run_tool

if __name__ == "__main__":
    run_tool(main)
