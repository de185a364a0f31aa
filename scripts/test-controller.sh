#!/bin/sh
# test-controller.sh [SUITE…]: tests the controller on real kernels, in machines that qemu emulates: bookworm (Linux
# 6.1, BlueZ 5.66), trixie (6.12, 5.82) and forky (BlueZ 5.87 of the recordings, on trixie's Linux), which also plays
# the recordings. It writes docs/evidence/controller.md from these runs and, for the other machines, from their last
# run; "page" runs no machine. It needs a Debian whose keyring knows these suites, and fetches 100 MB for each the first
# time. MACHINES is the folder for machines and logs (dist/test-controller), SCENARIOS the scenarios to play (all, none,
# or names separated by blanks), and LIMIT how many seconds a machine may take. If a machine is ended early, the
# recordings so far are compared and written all the same.
set -eu
cd "$(dirname "$0")/.."
. scripts/lib.sh
need_go
page=docs/evidence/controller.md
[ $# -gt 0 ] || set -- forky trixie bookworm
missing=
for tool in qemu-system-x86_64:qemu-system-x86 cpio:cpio depmod:kmod dpkg-deb:dpkg xz:xz-utils; do
	command -v "${tool%:*}" >/dev/null 2>&1 || missing="$missing ${tool#*:}"
done
command -v apt-get >/dev/null 2>&1 || stop "make test-controller wants a Debian: it makes its machines out of Debian packages"
[ -e /usr/share/keyrings/debian-archive-keyring.gpg ] || missing="$missing debian-archive-keyring"
# The variable is a list of words.
# shellcheck disable=SC2086
install_packages $missing
venv # the comparison of the recordings is a Python program

machines=${MACHINES:-dist/test-controller}
mkdir -p "$machines"
machines=$(cd "$machines" && pwd)
host=$machines/host
# prepare fills the folder that the machines see.
prepare() {
	rm -rf --one-file-system "$host"
	mkdir -p "$host/driver"
	CGO_ENABLED=0 "$GO" build -trimpath -tags nethttpomithttp2 -o "$host/bluez-esphome" ./cmd/bluez-esphome
	CGO_ENABLED=0 "$GO" test -c -o "$host/vm.test" ./tests/controller/vm
	cp internal/proxysim/testdata/golden-peripheral.json "$host/peripherals.json"
	cp tests/controller/vm/bleak_client.py tests/controller/vm/tests.sh tests/controller/vm/golden.sh "$host/"
	cp tests/golden/testdata/driver/*.py "$host/driver/"
	if [ "${SCENARIOS:-all}" = all ]; then
		SCENARIOS=$(for f in tests/golden/testdata/bluez-5.87/*.json tests/golden/testdata/bluez-5.87-experimental/advertisement_monitor*.json; do
			basename "$f" .json
		done)
	fi
	[ "$SCENARIOS" != none ] || SCENARIOS=
	# Each with the state of the adapter in which its recording began.
	for name in $SCENARIOS; do
		file=tests/golden/testdata/bluez-5.87/$name.json
		[ -e "$file" ] || file=tests/golden/testdata/bluez-5.87-experimental/$name.json
		.venv/bin/python -c 'import json, sys
adapter = json.load(open(sys.argv[1]))["adapter"]
print(sys.argv[2], *(str(adapter[p]["value"]).lower() for p in ("Connectable", "Pairable")))' "$file" "$name"
	done >"$host/scenarios"
}
case $* in page) ;; *) prepare ;; esac

commit=$(git rev-parse --short=9 HEAD) # the commit that prepare has built
failed=
# boot SUITE SCRIPT boots a machine, which writes its output to $machines/SUITE-SCRIPT.log.
boot() {
	if [ ! -e "$machines/$1/initrd.img" ]; then
		[ "$1" != forky ] || [ -e "$machines/trixie/initrd.img" ] || sh tests/controller/vm/build.sh trixie "$machines"
		sh tests/controller/vm/build.sh "$1" "$machines"
	fi
	echo "== $1: $2"
	LIMIT=${LIMIT:-7200} sh tests/controller/vm/run.sh "$machines/$1" "$host" "$2" </dev/null 2>&1 | tr -d '\r' | tee "$machines/output" |
		grep -E '^(machine:|--- |    --- |exit:|== )' || true
	{ echo "commit: $commit"; cat "$machines/output"; } >"$machines/$1-$2.log"
	grep -qx 'exit: 0' "$machines/output" || failed="$failed $1-$2.log"
}
judged=$machines/golden.md
for suite in "$@"; do
	[ "$suite" != page ] || continue
	[ "$suite" != forky ] || [ -z "$SCENARIOS" ] || boot forky golden.sh
	boot "$suite" tests.sh
done
if [ -e "$host/recorded" ]; then
	"$GO" run ./tests/golden -played "$host/recorded" -section "$judged" || failed="$failed golden"
fi

# name SUITE prints what the machine says of itself, and the commit that it ran.
name() {
	if [ ! -e "$machines/$1-tests.sh.log" ]; then echo "$1"; return; fi
	sed -n 's/^machine: //p' "$machines/$1-tests.sh.log" | head -n 1
	sed -n 's/^commit: / at /p' "$machines/$1-tests.sh.log"
}
column() { name "$1" | tr -d '\n'; }
{
	cat <<END
# The controller on real kernels

Written by \`make test-controller\`, $(date -u +%Y-%m-%d); not in CI. Machines of Debian packages, emulated by qemu (TCG) while other work was done on the same
processors; in each the daemon with two simulated proxies (one encrypted), bluetoothd and its tools. VHCI is a controller of \`/dev/vhci\`, PTY one behind the
kernel's line discipline and btattach. The guide is [controller.md](../controller.md).

| | $(column bookworm) | $(column trixie) | $(column forky) |
| --- | --- | --- | --- |
END
	for suite in bookworm trixie forky; do
		sed "s/^/$suite /" "$machines/$suite-tests.sh.log" 2>/dev/null || true
	done | awk '/--- (PASS|FAIL|SKIP): / {
			suite = $1; sub(/^.*--- /, ""); result = ($1 == "PASS:") ? "passed" : ($1 == "SKIP:") ? "skipped" : "**failed**"; time = $3; gsub(/[()]/, "", time); sub(/s$/, " s", time)
			name = $2; gsub(/_/, " ", name); sub(/^Test/, "", name)
			if (!sub("/", ": ", name)) next
			if (!(name in seen)) { seen[name] = 1; names[++n] = name }
			cell[name, suite] = result ", " time
		}
		END { split("bookworm trixie forky", suites, " ")
			for (i = 1; i <= n; i++) { printf "| %s", names[i]; for (k = 1; k <= 3; k++) { c = cell[names[i], suites[k]]; printf " | %s", c == "" ? "not run" : c }; print " |" } }'
	if [ -e "$judged" ]; then
		cat <<END

## The recordings of bluetoothd, played on it

The recordings are of bluetoothd 5.87 with an emulated LE-only controller on Linux 6.12. Here the same version plays them on the same Linux with a controller of
ours$(sed -n 's/^commit: \(.*\)/ (at \1)/p' "$machines/forky-golden.sh.log" 2>/dev/null || true), whose radio is a simulated proxy that hears the same devices.

END
		cat "$judged"
	fi
} >"$page"
echo "wrote $page"
[ -z "$failed" ] || stop "not as expected, in $machines:$failed"
