# `make book` builds the book, `make test` checks everything; both set up .venv first.
PYTHON ?= python3
BIN := .venv/bin
PAGE := _build/html/book/intro.html
TYPED := --jaxtyping-packages=icrl,beartype.beartype
export PYTHONHASHSEED := 0
# One thread for each process: two that share two cores would wait for each other many times over.
export OMP_NUM_THREADS := 1

.PHONY: book test bench lab notebooks lock clean

book: .venv/installed
	$(BIN)/jupyter-book build . -W -n --keep-going
	@echo; echo "Open this page: $(CURDIR)/$(PAGE)"

test: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m pytest -q -n 2 -m "not bad_input" $(TYPED)
	$(BIN)/python -m pytest -q -m bad_input
	$(BIN)/python -m icrl
	$(BIN)/python book/execute.py --check
	$(BIN)/python -m pytest -q --nbval --nbval-current-env -n 2 --dist loadfile \
		--nbval-sanitize-with book/nbval-sanitize.cfg book

# Speed of pretraining over a literal trainer, in one run on one thread.
bench: .venv/installed
	$(BIN)/python tests/pretraining/bench_pretraining.py

lab: .venv/installed
	$(BIN)/jupyter lab book

# Runs again, deterministically, every notebook whose code or whose part of icrl changed.
notebooks: .venv/installed
	$(BIN)/python book/execute.py

# Pins what is installed now; edit the bounds in pyproject.toml, install, try, then lock.
lock:
	@(grep '^#' requirements.lock; $(BIN)/pip freeze --exclude-editable | sed 's/+cpu$$//' \
		| grep -viE '^(icrl|nvidia|triton|cuda)') > requirements.lock.new
	@mv requirements.lock.new requirements.lock

.venv/installed: requirements.lock pyproject.toml
	@command -v "$(PYTHON)" >/dev/null || { echo "no '$(PYTHON)' here; install Python 3.11 or newer, \
	or name one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@"$(PYTHON)" -c 'import sys; v = sys.version_info; v >= (3, 11) or sys.exit("icrl needs Python 3.11 \
	or newer; %s is %d.%d. Name another one: make PYTHON=python3.12" % (sys.executable, v[0], v[1]))'
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) lacks the venv module \
	(on Debian and Ubuntu: apt install python3-venv)"; exit 1; }
	"$(PYTHON)" -m venv .venv
	$(BIN)/python -m pip install -q -r requirements.lock
	$(BIN)/python -m pip install -q --no-deps -e .
	@touch $@

clean:
	rm -rf _build .venv icrl.egg-info .pytest_cache .ruff_cache .hypothesis
	find book icrl tests -name __pycache__ -prune -exec rm -rf {} +
