"""``cvrl extract`` as a script; see cvrl/cli/extract.py."""

from cvrl.cli.extract import PRECISIONS as PRECISIONS
from cvrl.cli.extract import STAGES as STAGES
from cvrl.cli.extract import main
from cvrl.utils.errors import run_tool

if __name__ == "__main__":
    run_tool(main)
