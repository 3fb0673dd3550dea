# make demo: install, then encode, decode and show one photo.   make test: everything CI checks.
# make docs: build the documents as a site in build/docs.   make docs-links: check its links to other sites.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test docs docs-links types install format clean

demo: $(VENV)/installed
	$(BIN)/python docs/tools/demo.py
	@echo
	@echo 'Let this shell find the command `ticodec`:   . $(BIN)/activate'
	@echo 'Then try:                                    ticodec encode photo.jpg'

test: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run -Werror codec/*/native/*.[ch]
	$(MAKE) --no-print-directory types docs
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

# Every warning is an error: a dead link or anchor, a docstring that is no valid markup. It begins
# anew each time (-E), because Sphinx does not repeat the warnings of pages that did not change.
SPHINX := $(BIN)/python -m sphinx -W --keep-going -q -E -c docs .

docs: $(VENV)/installed-dev
	$(SPHINX) build/docs

docs-links: $(VENV)/installed-dev
	$(SPHINX) -b linkcheck build/docs-links

# mypy knows nothing of package-dir: show it the three folders as the one package they become.
types: $(VENV)/installed-dev
	rm -rf build/types && mkdir -p build/types/ticodec
	ln -s $(CURDIR)/codec/* $(CURDIR)/cli $(CURDIR)/weights build/types/ticodec/
	$(BIN)/mypy

install: $(VENV)/installed

# The extension is compiled as the package is installed.
$(VENV)/installed: pyproject.toml setup.py $(wildcard codec/*/native/*.[ch])
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "ticodec needs Python 3.11 or later")'
	@echo 'Installing into $(VENV): PyTorch and what it needs, about 6 GB, a minute or two …'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	PYTHONWARNINGS=ignore $(BIN)/pip install --quiet --editable .
	touch $@

$(VENV)/installed-dev: $(VENV)/installed
	PYTHONWARNINGS=ignore $(BIN)/pip install --quiet --editable '.[dev]'
	$(BIN)/python tests/browser.py
	touch $@

format: $(VENV)/installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i codec/*/native/*.[ch]

clean:
	rm -rf $(VENV) build dist *.egg-info demo codec/*/native/_*.so
