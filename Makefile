#: make demo                        pre-train, evaluate and report on synthetic videos (CPU, minutes)
#: make demo DATA=/path/to/videos   the same on your own, with labels if it holds a folder a class
#: make encoder                     the encoder that comes with the package (CPU, half an hour)
#: make test                        lint, types and tests
#: make test-long                   the tests of many minutes that `make test` leaves out
#: make check                       lint and types alone
#: make docs                        the documentation as a site, in site/
#: make clean                       remove the environment and caches; runs/ stays
#:
#: PYTHON=python3.12 picks the interpreter, VENV=folder where its environment goes.

PYTHON ?= python3
VENV ?= .venv
PY := $(VENV)/bin/python
PIP_INSTALL := $(PY) -m pip install --disable-pip-version-check

.PHONY: help demo encoder test test-long check docs clean
.DEFAULT_GOAL := help

help:
	@sed -n 's/^#: \{0,1\}//p' Makefile

# The stamps carry the date of the last install that went through; setup.py decides if it is stale.
$(VENV)/.installed: setup.py
	@$(PY) -c "" 2>/dev/null || $(PYTHON) -m venv --clear $(VENV)
	$(PIP_INSTALL) -e .
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(PIP_INSTALL) -e '.[test]'
	@touch $@

# --- demo ----------------------------------------------------------------------------------------
# DATA reaches the recipe through the environment, so that its path may hold spaces.

export DATA
EMPTY :=
SPACE := $(EMPTY) $(EMPTY)
ifeq ($(strip $(DATA)),)
demo: RUN := runs/demo
demo: $(VENV)/.installed
	$(PY) datasets/make_synthetic.py --output $(RUN)/videos
	$(PY) tools/train_net.py --config configs/demo/synthetic.yaml output=$(RUN)
	$(PY) tools/evaluate.py --checkpoint $(RUN) --protocol knn linear
	$(PY) tools/evaluate.py --checkpoint $(RUN) --protocol knn linear --still
	$(PY) tools/extract_features.py --checkpoint $(RUN) --input $(RUN)/videos --output $(RUN)/features.parquet
	$(PY) tools/report.py --run $(RUN)
else
demo: RUN := runs/demo-$(subst /,-,$(subst $(SPACE),_,$(DATA)))
demo: $(VENV)/.installed
	$(PY) tools/inspect_data.py "$$DATA" --output $(RUN)/manifest.csv
	$(PY) tools/train_net.py --config configs/demo/folder.yaml data.train=$(RUN)/manifest.csv output=$(RUN)
	$(PY) tools/evaluate.py --checkpoint $(RUN)
	$(PY) tools/extract_features.py --checkpoint $(RUN) --input $(RUN)/manifest.csv --output $(RUN)/features.parquet
	$(PY) tools/report.py --run $(RUN)
endif

# --- the encoder that comes with the package: docs/cvrl_small.md ---------------------------------

encoder: $(VENV)/.installed
	$(PY) datasets/make_synthetic.py --kind people --videos-per-class 18 --size 108x80 --output runs/people
	$(PY) tools/train_net.py --config configs/pretrain/people_small.yaml

# --- checks --------------------------------------------------------------------------------------

check: $(VENV)/.installed-test
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy --strict cvrl tools datasets

test: check
	OMP_NUM_THREADS=1 $(PY) -m pytest -n logical --maxprocesses 4 --dist worksteal -m "not long and not (real and slow)"

test-long: check
	OMP_NUM_THREADS=1 $(PY) -m pytest -n logical --maxprocesses 4 --dist worksteal -m "long and not real"

docs: $(VENV)/.installed-test
	$(PY) -m mkdocs build --strict --site-dir site

clean:
	rm -rf $(VENV) .venv-ci build dist site *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find cvrl tools tests datasets -name __pycache__ -type d -prune -exec rm -rf {} +
