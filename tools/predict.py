"""``cvrl predict`` as a script; see cvrl/cli/predict.py."""

from cvrl.cli.predict import main
from cvrl.utils.errors import run_tool

if __name__ == "__main__":
    run_tool(main)
