# Two commands do everything on a fresh machine: make serve, make test. Both need python3 >= 3.11.
PYTHON ?= python3
VENV   ?= .venv
BIN     = $(VENV)/bin
ARGS   ?=
WORKERS ?= 2
PYTEST  = $(BIN)/python -m pytest --numprocesses=$(WORKERS) --no-loadscope-reorder

.PHONY: help serve test test-all coverage check fix browser test-browser test-container test-wheel programs test-deploy postgres test-postgres cluster test-cluster test-gpu gpu-session gpu-train audit fuzz lock clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

serve: $(VENV)/.installed  ## serve the included models; make serve ARGS="--port 9000"
	DDPM_CHECKPOINT="$${DDPM_CHECKPOINT:-mnist,cifar10,emoji}" $(BIN)/ddpm serve $(ARGS)

test: $(VENV)/.installed-dev  ## run all tests but the slow ones; make test ARGS="-k noise"
	$(PYTEST) -m "not slow" $(ARGS)

test-all: $(VENV)/.installed-dev  ## run all tests
	$(PYTEST) $(ARGS)

coverage: $(VENV)/.installed-dev  ## run all tests, and report the lines that they do not reach
	$(PYTEST) --cov --cov-report=term-missing:skip-covered $(ARGS)

check: $(VENV)/.installed-dev  ## check style, formatting, types, and for weak spots
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/bandit --quiet --configfile=pyproject.toml --recursive app diffusion

fix: $(VENV)/.installed-dev  ## correct what the linter can, and format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

browser: $(VENV)/.installed-dev  ## install Chromium for the tests of the page, where there is none
	$(BIN)/python -m tests.browser

test-browser: browser  ## test the page in a browser
	$(BIN)/python -m pytest tests/app/playground -rs $(ARGS)

test-container: $(VENV)/.installed-dev  ## build the container image, run it, kill it and run it again
	$(BIN)/python -m tests.container $(ARGS)

test-wheel: $(VENV)/.installed-dev  ## install the wheel in an empty environment, and use it from there
	$(BIN)/python -m tests.wheel $(ARGS)

programs: $(VENV)/.installed-dev  ## install HAProxy and Prometheus for the tests of deploy/, where there are none (root, apt-get)
	$(BIN)/python -m tests.deploy.programs

test-deploy: programs postgres  ## test the manifests, and three servers behind HAProxy, some of which are killed
	$(BIN)/python -m pytest tests/deploy -rs $(ARGS)

postgres: $(VENV)/.installed-dev  ## install PostgreSQL for the tests of jobs, where there is none (root, apt-get)
	$(BIN)/python -m tests.postgres

test-postgres: postgres  ## test jobs on PostgreSQL
	$(BIN)/python -m pytest tests/app/jobs tests/app/routes/test_jobs.py tests/app/service/test_jobs_survive.py tests/app/service/test_shared_jobs.py $(ARGS)

cluster: $(VENV)/.installed-dev  ## install Ray for the tests of engines on several machines
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[cluster]'

test-cluster: cluster  ## test engines on several machines
	$(BIN)/python -m pytest tests/app/cluster -rs $(ARGS)

test-gpu: $(VENV)/.installed-dev  ## test what needs a GPU, and engines' faults on it
	$(BIN)/python -m pytest -m gpu --device=cuda -rs tests/app $(ARGS)

gpu-session: $(VENV)/.installed-dev  ## measure and test all that needs a GPU in ten minutes; make gpu-session ARGS=--tiny
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[benchmarks]'
	$(BIN)/python -m benchmarks.gpu_session $(ARGS)

gpu-train: $(VENV)/.installed-dev  ## train the next stage of an included model for ten minutes on a GPU; make gpu-train ARGS=--tiny
	$(BIN)/python -m benchmarks.gpu_train $(ARGS)

audit: $(VENV)/.installed-dev  ## look for weaknesses, here and in dependencies; list all parts and their licences
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[audit]'
	$(BIN)/python -m tests.audit

fuzz: $(VENV)/.installed-dev  ## read 100,000 damaged inputs of each kind; make fuzz ARGS="wire --inputs 1000"
	$(BIN)/python -m tests.fuzz $(ARGS)

lock: $(VENV)/.installed-dev  ## write the installed versions to constraints.txt, and the image's with hashes to deploy/
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[openvino,hub,postgres,s3,train,cluster,benchmarks,audit,dev]'
	$(BIN)/python -m pip freeze --exclude-editable >$(VENV)/versions.txt
	{ head -n 1 constraints.txt; sed 's/+[^ ]*$$//' $(VENV)/versions.txt; } >$(VENV)/constraints.txt
	mv $(VENV)/constraints.txt constraints.txt
	PATH=$(abspath $(BIN)):$$PATH $(BIN)/python -m tests.lock

clean:  ## remove the virtual environment
	rm -rf $(VENV)

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "python 3.11 or newer is needed")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing into $(VENV); that may take a minute or more."
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[openvino,hub]'
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing into $(VENV), with what the tests need; that may take a minute or more."
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[openvino,hub,postgres,train,dev]'
	@touch $@ $(VENV)/.installed
