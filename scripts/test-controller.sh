#!/bin/sh
# test-controller.sh [SUITE…]: the controller on real kernels, in machines that qemu emulates: bookworm (Linux 6.1, BlueZ 5.66), trixie (6.12,
# 5.82) and forky (BlueZ 5.87 of the recordings, on trixie's Linux), which plays the recordings. Writes docs/evidence/controller.md when all three
# were run. Wants a Debian whose keyring knows them, and fetches 100 MB for each the first time. MACHINES is where machines are kept (dist/test-controller),
# SCENARIOS what forky plays ("all", or names separated by blanks).
set -eu
cd "$(dirname "$0")/.."
. scripts/lib.sh
need_go
page=docs/evidence/controller.md
whole=
[ $# -gt 0 ] || { set -- bookworm trixie forky; whole=yes; }
missing=
for tool in qemu-system-x86_64:qemu-system-x86 cpio:cpio depmod:kmod dpkg-deb:dpkg xz:xz-utils; do
	command -v "${tool%:*}" >/dev/null 2>&1 || missing="$missing ${tool#*:}"
done
command -v apt-get >/dev/null 2>&1 || stop "make test-controller wants a Debian: it makes its machines out of Debian packages"
[ -e /usr/share/keyrings/debian-archive-keyring.gpg ] || missing="$missing debian-archive-keyring"
# The word splitting is meant.
# shellcheck disable=SC2086
install_packages $missing
venv # what compares the recordings

machines=${MACHINES:-dist/test-controller}
mkdir -p "$machines"
machines=$(cd "$machines" && pwd)
host=$machines/host
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
# Each with the state of the adapter in which its recording began.
for name in $SCENARIOS; do
	file=tests/golden/testdata/bluez-5.87/$name.json
	[ -e "$file" ] || file=tests/golden/testdata/bluez-5.87-experimental/$name.json
	.venv/bin/python -c 'import json, sys
adapter = json.load(open(sys.argv[1]))["adapter"]
print(sys.argv[2], *(str(adapter[p]["value"]).lower() for p in ("Connectable", "Pairable")))' "$file" "$name"
done >"$host/scenarios"

failed=
# boot SUITE SCRIPT: the machine's output is $machines/SUITE-SCRIPT.log.
boot() {
	if [ ! -e "$machines/$1/initrd.img" ]; then
		[ "$1" != forky ] || [ -e "$machines/trixie/initrd.img" ] || sh tests/controller/vm/build.sh trixie "$machines"
		sh tests/controller/vm/build.sh "$1" "$machines"
	fi
	echo "== $1: $2"
	LIMIT=3600 sh tests/controller/vm/run.sh "$machines/$1" "$host" "$2" </dev/null 2>&1 | tr -d '\r' | tee "$machines/$1-$2.log" |
		grep -E '^(machine:|--- |    --- |exit:|== )' || true
	grep -qx 'exit: 0' "$machines/$1-$2.log" || failed="$failed $1-$2.log"
}
for suite in "$@"; do
	boot "$suite" tests.sh
done
judged=
case " $* " in
*" forky "*)
	boot forky golden.sh
	"$GO" run ./tests/golden -played "$host/recorded" -section "$machines/golden.md" || failed="$failed golden"
	judged=$machines/golden.md
	;;
esac

# name SUITE: what the machine says it is.
name() { sed -n 's/^machine: //p' "$machines/$1-tests.sh.log" | head -n 1; }
if [ -n "$whole" ]; then
	{
		cat <<END
# The controller on real kernels

Written by \`make test-controller\` at $(git rev-parse --short=9 HEAD), $(date -u +%Y-%m-%d); not in CI. Machines of Debian packages, emulated by qemu (TCG), while other work was done
on the same processors; in each the daemon with two simulated proxies (one encrypted), bluetoothd and its tools. The guide is [controller.md](../controller.md).

| | $(name bookworm) | $(name trixie) | $(name forky) |
| --- | --- | --- | --- |
END
		awk '/^    --- (PASS|FAIL)/ {
			result = ($2 == "PASS:") ? "passed" : "**failed**"; time = $4; gsub(/[()]/, "", time); sub(/s$/, " s", time)
			name = $3; gsub(/_/, " ", name); sub(/^Test/, "", name); sub("/", ": ", name)
			if (!(name in order)) { order[name] = ++n; names[n] = name }
			cell[name, FILENAME] = result ", " time
		}
		END { for (i = 1; i <= n; i++) { printf "| %s", names[i]; for (f = 1; f < ARGC; f++) { c = cell[names[i], ARGV[f]]; printf " | %s", c == "" ? "not run" : c }; print " |" } }' \
			"$machines/bookworm-tests.sh.log" "$machines/trixie-tests.sh.log" "$machines/forky-tests.sh.log"
		printf '\n## The recordings of bluetoothd, played on it\n\n'
		printf 'The recordings are of bluetoothd 5.87 with an emulated LE-only controller on Linux 6.12. Here the same version plays them on the same Linux with a controller of ours,\n'
		printf 'whose radio is a simulated proxy that hears the same devices.\n\n'
		cat "$judged"
	} >"$page"
	echo "wrote $page"
fi
[ -z "$failed" ] || stop "not as expected, in $machines:$failed"
