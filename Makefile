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

build:
	@GO="$(GO)" sh scripts/build.sh $(PREFIX)/bluez-esphome

# Without CONFIG a demonstration with simulated proxies; with CONFIG=FILE your own.
run: build
	@CONFIG="$(CONFIG)" BUS="$(BUS)" sh scripts/run.sh $(PREFIX)/bluez-esphome

# Everything: what it needs, unit tests, real clients, and the recordings if they are there.
test:
	@GO="$(GO)" sh scripts/test.sh need unit clients golden

test-unit:
	@GO="$(GO)" sh scripts/test.sh unit

# Real clients against the program; writes docs/evidence/clients.md.
test-clients:
	@GO="$(GO)" sh scripts/test.sh need clients-table

# More clients than make test drives; builds for minutes, prints a table.
test-clients-extra:
	@GO="$(GO)" sh scripts/test-clients-extra.sh

# Play the recorded scenarios of bluetoothd against the daemon and write docs/evidence/conformance.md
# (test-golden-full: against every set of recordings).
test-golden:
	@GO="$(GO)" sh scripts/test.sh need golden-table

test-golden-full:
	@GO="$(GO)" sh scripts/test.sh need golden-full

fuzz:
	@GO="$(GO)" sh scripts/fuzz.sh $(FUZZTIME)

lint:
	@GO="$(GO)" sh scripts/lint.sh

generate:
	@GO="$(GO)" sh scripts/generate.sh

# What the program costs, beside the reference and the floor; writes docs/evidence/benchmarks.md. ROWS=flood,home for some rows only.
bench: build
	@GO="$(GO)" ROWS="$(ROWS)" BENCHFLAGS="$(BENCHFLAGS)" sh scripts/bench.sh $(PREFIX)/bluez-esphome

# An hour under load and outages; RACE=1 with the race detector. Writes docs/evidence/soak.md.
soak:
	@GO="$(GO)" sh scripts/soak.sh $(DURATION) $(RACE)

# Known vulnerabilities in what the program uses.
audit:
	@GO="$(GO)" sh scripts/audit.sh

# Debian packages in dist/, for amd64, arm64 and armhf; DEB_ARCHES=amd64 for one.
deb:
	@GO="$(GO)" sh scripts/deb.sh $(DEB_ARCHES)

# The package in Debian 12 roots, in containers and, booted in qemu, under its systemd; wants root. Writes docs/evidence/test-install.md.
test-install:
	@GO="$(GO)" sh scripts/test-install.sh

.PHONY: build run test test-unit test-clients test-clients-extra test-golden test-golden-full fuzz lint generate bench soak audit deb test-install
