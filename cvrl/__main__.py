"""``python -m cvrl`` is the command ``cvrl``."""

from cvrl.cli import run

if __name__ == "__main__":
    run()
