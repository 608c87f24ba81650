# The two commands of the README are `make book` and `make test`; `make help` lists the rest.

PYTHON ?= python3
BIN = .venv/bin
# How threads wait for each other: `calbook/threads.py` says why.
export OMP_WAIT_POLICY = PASSIVE
export GOMP_SPINCOUNT = 10000
# Where Python may not keep what it compiled, every process compiles PyTorch anew: seconds, a hundred times over.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup book test coverage lint check serve editions lab reproduce bench lock clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*##' Makefile | awk -F ':.*## ' '{ printf "make %-10s %s\n", $$1, $$2 }'
	@echo
	@echo "Options: TORCH=cpu (set up without CUDA; kept from then on), PYTHON=python3.12, DATA=folder of coco_annotations/ and coco_mini/"

setup: ## make or update the virtual environment in .venv
	@$(PYTHON) setup_env.py $(if $(TORCH),--torch $(TORCH))

book: setup ## execute what changed, then render the book into _build/html
	@$(BIN)/python -m calbook.bookbuild all

test: setup ## run all tests
	@$(BIN)/python -m pytest -n auto

coverage: setup ## which lines and branches of calbook no test runs
	@$(BIN)/python -m pytest -n auto --cov

lint: setup ## style, types, spelling, notebooks without outputs
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/codespell
	@$(BIN)/nbstripout --verify --keep-id book/*.ipynb book/appendix/*.ipynb

check: lint ## everything CI checks: lint, the book from clean, all tests in CI mode
	rm -rf _build
	@CI=true $(MAKE) --no-print-directory book
	@CI=true $(MAKE) --no-print-directory test

serve: setup ## show the book on http://localhost:8000 and build again when a source changes
	@$(BIN)/python -m calbook.bookbuild serve

editions: setup ## the book to carry away: zip of the pages, notebooks, PDF (needs Chromium), in _build/editions
	@$(BIN)/python -m calbook.bookbuild editions

lab: setup ## open the chapters in JupyterLab
	@$(BIN)/jupyter lab --notebook-dir book

reproduce: setup ## run again, on real data, the measurements in experiments/results
	@$(BIN)/python experiments/reproduce.py $(if $(DATA),--data "$(DATA)")

bench: setup ## time the package against references, as ratios (calbook bench lists them)
	@$(BIN)/calbook bench all

lock: setup ## resolve pyproject.toml anew into requirements.lock
	@$(BIN)/uv pip compile pyproject.toml --extra book --extra export --extra video --extra dev --universal --python-version 3.11 \
		--generate-hashes --no-header --no-annotate --upgrade -q -o requirements.lock

clean: ## delete what was built (not .venv)
	rm -rf _build
