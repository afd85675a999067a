"""``cvrl explain`` as a script; see cvrl/cli/explain.py."""

from cvrl.cli.explain import STAGES as STAGES
from cvrl.cli.explain import main
from cvrl.utils.errors import run_tool

if __name__ == "__main__":
    run_tool(main)
