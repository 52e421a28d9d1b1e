# `make book` builds the book, `make test` checks everything; both set up .venv first.
PYTHON ?= python3
BIN := .venv/bin
PAGE := _build/html/book/intro.html
# Without notebooks, nbval would cost each process 3 s of imports.
TYPED := --jaxtyping-packages=icrl,typed.checked -p no:nbval
UNTYPED := -m pytest -q -n 2 --dist loadfile -m untyped
# The notebook of the claims runs in tests/claims/test_table.py, on what was computed there already.
NOTEBOOKS := --nbval --nbval-current-env --nbval-sanitize-with book/nbval-sanitize.cfg --ignore=book/claims.ipynb
export PYTHONHASHSEED := 0
# One thread for each process: two that share two cores would wait for each other many times over.
export OMP_NUM_THREADS := 1
# Compiled modules are kept: dozens of processes would each compile the package again.
unexport PYTHONDONTWRITEBYTECODE

# With -j, a page would be looked at before it is whole.
.NOTPARALLEL:
.PHONY: book test pages checks typed units fuzz browser pdf links test-lowest test-newest mutants bench sweep sweeps lab notebooks lock clean

book: .venv/installed pages
	@echo; echo "Open this page: $(CURDIR)/$(PAGE)"

test: .venv/installed pages checks

pages:
	$(BIN)/jupyter-book build . -W -n --keep-going

checks: typed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python book/execute.py --check
	$(BIN)/python $(UNTYPED) $(NOTEBOOKS) tests book
	@$(HAVE_BROWSER) || echo "SKIPPED: every check of the rendered pages. They need Chromium and its driver: make browser"

# Modules under types; then what they refuse, and the claims.
units: typed
	$(BIN)/python $(UNTYPED) --ignore=tests/book tests

typed:
	$(BIN)/python -m pytest -q -n 2 -m "not untyped" $(TYPED) --ignore=tests/claims --ignore=tests/book

# Ten thousand calls of the whole public face, with one argument wrong in most of them (`make test` takes 300).
fuzz: .venv/installed
	FUZZ_CALLS=10000 $(BIN)/python -m pytest -q -m bad_input tests/test_fuzz.py

HAVE_BROWSER := command -v chromium >/dev/null && command -v chromedriver >/dev/null

# What the checks of the rendered pages need, from the system's own packages.
browser:
	@if $(HAVE_BROWSER); then echo "Chromium and its driver are here"; \
	elif command -v apt-get >/dev/null; then $$(command -v sudo) apt-get install -y chromium chromium-driver; \
	elif command -v brew >/dev/null; then brew install --cask chromium chromedriver; \
	else echo "Install Chromium and chromedriver, under these names on the PATH"; exit 1; fi

# The whole book as one file, _build/icrl.pdf, printed by Chromium.
pdf: .venv/installed pages browser
	$(BIN)/python book/pdf.py

# Asks every external address in the book whether it is there; needs a network.
links: .venv/installed
	$(BIN)/python book/links.py

# The package alone, without the book's tests, with the lowest versions that pyproject.toml allows (Python 3.11).
test-lowest:
	"$(PYTHON)" -m venv --clear _build/lowest
	"$(PYTHON)" tests/lowest.py pyproject.toml > _build/lowest/constraints.txt
	_build/lowest/bin/python -m pip install -q -c _build/lowest/constraints.txt -e '.[test]'
	$(MAKE) units BIN=_build/lowest/bin

# Everything with the newest versions of everything: make test-newest PYTHON=python3.14
test-newest:
	"$(PYTHON)" -m venv --clear _build/newest
	_build/newest/bin/python -m pip install -q -e '.[book,test]'
	$(MAKE) pages checks BIN=_build/newest/bin

# Small wrong programs by the hundred: which of them does no test notice? make mutants OPTIONS="--module mrp"
mutants: .venv/installed
	$(BIN)/python tests/mutation.py $(OPTIONS)

# Speed against baselines and against what this machine could do, in one run on one thread.
bench: .venv/installed
	$(BIN)/python tests/bench.py

# The long runs behind book/data, hours together. One of them: make sweep NAME=control; what it can be told:
# make sweep NAME=control OPTIONS=--help. Finished tasks are kept in _build/sweeps.
SWEEPS := $(filter-out runner,$(basename $(notdir $(wildcard book/sweeps/*.py))))
# Their tables were made on an accelerator: make sweep NAME=teacher_mimicking_full, with OPTIONS="--device cpu" elsewhere.
ON_DEVICE := teacher_mimicking_full standard_transformer_factors

sweeps: .venv/installed
	@set -e; for name in $(filter-out $(ON_DEVICE),$(SWEEPS)); do $(BIN)/python book/sweeps/$$name.py $(OPTIONS); done

sweep: .venv/installed
	@case " $(SWEEPS) " in *" $(NAME) "*) ;; *) echo "NAME is '$(NAME)'; one of: $(SWEEPS)"; exit 1;; esac
	$(BIN)/python book/sweeps/$(NAME).py $(OPTIONS)

lab: .venv/installed
	$(BIN)/jupyter lab book --config=book/jupyter_server_config.py

# Runs again, deterministically, every notebook whose code or whose part of icrl changed.
notebooks: .venv/installed
	$(BIN)/python book/execute.py

# Pins what is installed now; edit the bounds in pyproject.toml, install, try, then lock.
lock:
	@(grep '^#' requirements.lock; $(BIN)/pip freeze --all --exclude-editable | sed 's/+cpu$$//' \
		| grep -viE '^(icrl|pip|nvidia|triton|cuda)') > requirements.lock.new
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
