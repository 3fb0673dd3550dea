# make demo: installs into .venv, then encodes and decodes a photo and shows the result.
# make test: runs every check of continuous integration.
# make docs: builds the documents as a site in build/docs.
# make docs-links: checks the site's links to other sites.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test docs docs-links types install format clean

demo: $(VENV)/installed
	$(BIN)/python docs/tools/demo.py
	@echo
	@echo 'Let this shell find the command `ticodec`:   . $(BIN)/activate'
	@echo 'Then encode a photo:                         ticodec encode docs/samples/kodim15.png photo.tic'

test: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run -Werror codec/*/native/*.[ch]
	$(MAKE) --no-print-directory types docs
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

# -W turns every warning into an error, such as a dead link or a docstring with invalid markup.
# -E reads all pages again, because Sphinx does not repeat the warnings of unchanged pages.
SPHINX := $(BIN)/python -m sphinx -W --keep-going -q -E -c docs .

docs: $(VENV)/installed-docs
	$(SPHINX) build/docs
	@echo 'The site is built: open build/docs/index.html'

docs-links: $(VENV)/installed-docs
	$(SPHINX) -b linkcheck build/docs-links

# mypy cannot read package-dir of setuptools. These links show it the folders as one package.
types: $(VENV)/installed-dev
	rm -rf build/types && mkdir -p build/types/ticodec
	ln -s $(CURDIR)/codec/* $(CURDIR)/cli $(CURDIR)/weights build/types/ticodec/
	$(BIN)/mypy

install: $(VENV)/installed

# Installing the package compiles the C extensions.
$(VENV)/installed: pyproject.toml setup.py $(wildcard codec/*/native/*.[ch])
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "ticodec needs Python 3.11 or later")'
	@echo 'Installing ticodec and PyTorch into $(VENV): about 6 GB of disk. This downloads'
	@echo 'several gigabytes and takes some minutes.'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	PYTHONWARNINGS=ignore $(BIN)/pip install --editable .
	touch $@

$(VENV)/installed-docs: $(VENV)/installed
	PYTHONWARNINGS=ignore $(BIN)/pip install --quiet --editable '.[docs]'
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
