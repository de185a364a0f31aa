# Every target calls a script or the program; `make` alone builds.
.POSIX:
GO = go
CONFIG =
BUS = private
FUZZTIME = 30s
DURATION = 60m
RACE = 0
PREFIX = bin
DEB_ARCHES =
ROWS =
BENCHFLAGS =
RUNFLAGS =
RUNS = 10

build:
	@GO="$(GO)" sh scripts/build.sh $(PREFIX)/bluez-esphome

# Without CONFIG a demonstration with simulated proxies; with CONFIG=FILE your own.
run:
	@GO="$(GO)" CONFIG="$(CONFIG)" BUS="$(BUS)" sh scripts/run.sh $(PREFIX)/bluez-esphome

# Everything, with one summary: unit tests, the program with real clients, the recordings of bluetoothd. RUNFLAGS for flags of tests/run.
test:
	@GO="$(GO)" RUNFLAGS="$(RUNFLAGS)" sh scripts/test.sh announce need all
# The same with the long variants of tests, and nothing taken from Go's cache of results.
test-nightly:
	@GO="$(GO)" RUNFLAGS="$(RUNFLAGS)" sh scripts/test.sh announce need nightly
# All of make test, RUNS times on a busy machine; adds to docs/evidence/stress.md. Stopped, it goes on where it was.
test-stress:
	@GO="$(GO)" sh scripts/test-stress.sh $(RUNS)
# The real Home Assistant with shared proxies; wants root. Writes docs/evidence/home-assistant.md.
test-home-assistant:
	@GO="$(GO)" sh scripts/test-home-assistant.sh
# A Matter device commissioned through simulated proxies by real controllers; wants root. Writes docs/matter.md.
test-matter:
	@GO="$(GO)" sh scripts/test-matter.sh
# make run and make test on fresh machines: roots of Debian and Ubuntu; wants root. Writes docs/evidence/machines.md.
test-machines:
	@GO="$(GO)" sh scripts/test-machines.sh
# The controller on real kernels, in machines that qemu emulates, with bluetoothd and its tools; writes docs/evidence/controller.md.
test-controller:
	@GO="$(GO)" sh scripts/test-controller.sh
# The stream to a real broker and Theengs Gateway behind it; installs both. make test runs it where they are.
test-stream:
	@sh scripts/stream-tools.sh && $(GO) test -race ./tests/stream
test-unit:
	@GO="$(GO)" sh scripts/test.sh unit
# Real clients against the program; writes docs/evidence/clients.md. The second has more of them, builds for minutes, prints a table.
test-clients:
	@GO="$(GO)" sh scripts/test.sh need clients-table
test-clients-extra:
	@GO="$(GO)" sh scripts/test-clients-extra.sh
# Play the recorded scenarios of bluetoothd against the daemon; writes docs/evidence/conformance.md. The second plays every recording.
test-golden:
	@GO="$(GO)" sh scripts/test.sh need golden-table
test-golden-full:
	@GO="$(GO)" sh scripts/test.sh need golden-full
# The package in Debian 12 roots, in containers and, booted in qemu, under its systemd; wants root. Writes docs/evidence/test-install.md.
test-install:
	@GO="$(GO)" sh scripts/test-install.sh

fuzz:
	@GO="$(GO)" sh scripts/fuzz.sh $(FUZZTIME)
lint:
	@GO="$(GO)" sh scripts/lint.sh
generate:
	@GO="$(GO)" sh scripts/generate.sh
# Known vulnerabilities in what the program uses.
audit:
	@GO="$(GO)" sh scripts/audit.sh

# What the program costs, beside the reference and the floor; writes docs/evidence/benchmarks.md. ROWS=flood,home for some rows only.
bench: build
	@GO="$(GO)" ROWS="$(ROWS)" BENCHFLAGS="$(BENCHFLAGS)" sh scripts/bench.sh $(PREFIX)/bluez-esphome
# Ten daemons with 1,000 proxies and 20,000 devices on one broker; writes docs/evidence/fleet.md. BENCHFLAGS="-daemons 1,2 …" for less.
bench-fleet: build
	@GO="$(GO)" BENCHFLAGS="$(BENCHFLAGS)" sh scripts/bench-fleet.sh $(PREFIX)/bluez-esphome
# An hour under load and outages; RACE=1 with the race detector. Writes docs/evidence/soak.md.
soak:
	@GO="$(GO)" sh scripts/soak.sh $(DURATION) $(RACE)

# Debian packages in dist/, for amd64, arm64 and armhf; DEB_ARCHES=amd64 for one.
deb:
	@GO="$(GO)" sh scripts/deb.sh $(DEB_ARCHES)
# A release of the tagged commit in dist/VERSION: packages, container files, SBOM, checksums. release-check makes it twice and compares.
release:
	@GO="$(GO)" sh scripts/release.sh $(DEB_ARCHES)
release-check:
	@GO="$(GO)" sh scripts/release-check.sh $(DEB_ARCHES)

.PHONY: build run test test-nightly test-stress test-machines test-controller test-home-assistant test-matter test-unit test-clients test-clients-extra test-golden test-golden-full \
	test-install fuzz lint generate audit bench bench-fleet soak deb release release-check
