# Two commands do everything on a fresh machine: make serve, make test. Both need python3 >= 3.11.
PYTHON ?= python3
VENV   ?= .venv
BIN     = $(VENV)/bin
ARGS   ?=
WORKERS ?= 2
PYTEST  = $(BIN)/python -m pytest --numprocesses=$(WORKERS)

.PHONY: help serve test test-all coverage check fix browser test-browser test-container postgres test-postgres clean

help:  ## what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

serve: $(VENV)/.installed  ## start the server on the shipped model; make serve ARGS="--port 9000"
	$(BIN)/ddpm serve $(ARGS)

test: $(VENV)/.installed-dev  ## run all tests but the slow ones; make test ARGS="-k noise"
	$(PYTEST) -m "not slow" $(ARGS)

test-all: $(VENV)/.installed-dev  ## run all tests
	$(PYTEST) $(ARGS)

coverage: $(VENV)/.installed-dev  ## run all tests, and report the lines that they do not reach
	$(PYTEST) --cov --cov-report=term-missing:skip-covered $(ARGS)

check: $(VENV)/.installed-dev  ## lint, formatting, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

fix: $(VENV)/.installed-dev  ## mend what the linter can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

browser: $(VENV)/.installed-dev  ## install a Chromium for the page's tests, if there is none
	$(BIN)/python -m tests.browser

test-browser: browser  ## and run them
	$(BIN)/python -m pytest tests/app/playground/test_page.py -rs $(ARGS)

test-container: $(VENV)/.installed-dev  ## build the image and sample from it over HTTP
	$(BIN)/python -m tests.container $(ARGS)

postgres: $(VENV)/.installed-dev  ## install PostgreSQL (root, apt-get) for the jobs' tests, if there is none
	$(BIN)/python -m tests.postgres

test-postgres: postgres  ## and run them
	$(BIN)/python -m pytest tests/app/jobs tests/app/routes/test_jobs.py tests/app/service/test_jobs_survive.py $(ARGS)

clean:  ## remove the environment
	rm -rf $(VENV)

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "python 3.11 or newer is needed")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[openvino]'
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[openvino,postgres,train,dev]'
	@touch $@ $(VENV)/.installed
