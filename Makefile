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

# Runs a demonstration with simulated proxies or, with CONFIG=FILE, the daemon with your own.
run:
	@GO="$(GO)" CONFIG="$(CONFIG)" BUS="$(BUS)" sh scripts/run.sh $(PREFIX)/bluez-esphome

# Runs everything and prints one summary: unit tests, the program with real clients, the recordings of bluetoothd.
# RUNFLAGS has further flags of tests/run.
test:
	@GO="$(GO)" RUNFLAGS="$(RUNFLAGS)" sh scripts/test.sh announce need all
# The same with the long variants of tests, and without results from Go's cache.
test-nightly:
	@GO="$(GO)" RUNFLAGS="$(RUNFLAGS)" sh scripts/test.sh announce need nightly
# Runs make test RUNS times on a busy machine, and adds to docs/evidence/stress.md. After a stop it goes on where it
# was.
test-stress:
	@GO="$(GO)" sh scripts/test-stress.sh $(RUNS)
# Runs the real Home Assistant with shared proxies, and writes docs/evidence/home-assistant.md. It needs root.
test-home-assistant:
	@GO="$(GO)" sh scripts/test-home-assistant.sh
# Commissions a Matter device through simulated proxies with real controllers, and writes docs/matter.md. It needs root.
test-matter:
	@GO="$(GO)" sh scripts/test-matter.sh
# Runs make run and make test in fresh roots of Debian and Ubuntu, and writes docs/evidence/machines.md. It needs root.
test-machines:
	@GO="$(GO)" sh scripts/test-machines.sh
# Tests the controller on real kernels, in machines that qemu emulates, with bluetoothd and its tools, and writes
# docs/evidence/controller.md.
test-controller:
	@GO="$(GO)" sh scripts/test-controller.sh
# Installs a real broker and Theengs Gateway, and tests the stream with them. make test does so where they are
# installed.
test-stream:
	@sh scripts/stream-tools.sh && $(GO) test -race ./tests/stream
test-unit:
	@GO="$(GO)" sh scripts/test.sh unit
# Runs real clients against the program, and writes docs/evidence/clients.md. The second target has more of them, builds
# for minutes, and prints a table.
test-clients:
	@GO="$(GO)" sh scripts/test.sh need clients-table
test-clients-extra:
	@GO="$(GO)" sh scripts/test-clients-extra.sh
# Plays the recorded scenarios of bluetoothd against the daemon, and writes docs/evidence/conformance.md. The second
# target plays every recording.
test-golden:
	@GO="$(GO)" sh scripts/test.sh need golden-table
test-golden-full:
	@GO="$(GO)" sh scripts/test.sh need golden-full
# Tests the package in Debian 12 roots, in containers and, under systemd, in qemu, and writes
# docs/evidence/test-install.md. It needs root.
test-install:
	@GO="$(GO)" sh scripts/test-install.sh

fuzz:
	@GO="$(GO)" sh scripts/fuzz.sh $(FUZZTIME)
lint:
	@GO="$(GO)" sh scripts/lint.sh
generate:
	@GO="$(GO)" sh scripts/generate.sh
# Lists the known vulnerabilities in the program's dependencies.
audit:
	@GO="$(GO)" sh scripts/audit.sh

# Measures what the program, the reference and the floor cost, and writes docs/evidence/benchmarks.md. ROWS=flood,home
# measures only these rows.
bench: build
	@GO="$(GO)" ROWS="$(ROWS)" BENCHFLAGS="$(BENCHFLAGS)" sh scripts/bench.sh $(PREFIX)/bluez-esphome
# Measures up to ten daemons with 1,000 proxies and 20,000 devices on one broker, and writes docs/evidence/fleet.md.
# BENCHFLAGS="-daemons 1,2 …" measures less.
bench-fleet: build
	@GO="$(GO)" BENCHFLAGS="$(BENCHFLAGS)" sh scripts/bench-fleet.sh $(PREFIX)/bluez-esphome
# Runs the program for an hour under load and outages, and writes docs/evidence/soak.md. RACE=1 adds the race detector.
soak:
	@GO="$(GO)" sh scripts/soak.sh $(DURATION) $(RACE)

# Makes Debian packages in dist/ for amd64, arm64 and armhf, or only for DEB_ARCHES.
deb:
	@GO="$(GO)" sh scripts/deb.sh $(DEB_ARCHES)
# Makes a release of the tagged commit in dist/VERSION: packages, container files, SBOM, checksums. release-check makes
# it twice and compares.
release:
	@GO="$(GO)" sh scripts/release.sh $(DEB_ARCHES)
release-check:
	@GO="$(GO)" sh scripts/release-check.sh $(DEB_ARCHES)

.PHONY: build run test test-nightly test-stress test-machines test-controller test-home-assistant test-matter test-unit test-clients test-clients-extra test-golden test-golden-full \
	test-install fuzz lint generate audit bench bench-fleet soak deb release release-check
