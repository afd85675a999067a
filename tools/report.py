"""``cvrl report`` as a script; see cvrl/cli/report.py."""

from cvrl.cli.report import main
from cvrl.utils.errors import run_tool

if __name__ == "__main__":
    run_tool(main)
