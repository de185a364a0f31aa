#!/bin/sh
# test-matter.sh [OPTION…]: commissions a Matter device through simulated proxies with unmodified controllers. The
# options are those of tests/matter/run.py. It needs root, Node 20 or later with npm, and a Python for which the CHIP
# SDK has a wheel (3.9 to 3.12). The first run installs 250 MB into tests/matter and bin/test-matter. It is not part of
# make test. Without options it writes docs/matter.md.
set -eu
cd "$(dirname "$0")/.."
. scripts/lib.sh
need_go
[ "$(id -u)" -eq 0 ] || stop "make test-matter needs root, for network namespaces; paste: sudo make test-matter"
for tool in node npm python3 ip dbus-daemon; do
	command -v $tool >/dev/null 2>&1 || stop "make test-matter wants $tool"
done
sh scripts/build.sh bin/bluez-esphome

dir=tests/matter
if ! cmp -s $dir/package-lock.json $dir/node_modules/installed; then
	echo "== installing matter.js into $dir"
	npm ci --prefix $dir --ignore-scripts --omit=optional --omit-lockfile-registry-resolved=true --no-audit --no-fund --loglevel=error
	cp $dir/package-lock.json $dir/node_modules/installed
fi
venv=bin/test-matter/chip
if ! cmp -s $dir/requirements.txt $venv/installed; then
	echo "== installing the CHIP SDK into $venv"
	rm -rf $venv
	python3 -m venv $venv
	$venv/bin/pip install -q --disable-pip-version-check -r $dir/requirements.txt
	cp $dir/requirements.txt $venv/installed
fi

work=$(mktemp -d)
mkdir "$work/paa"
# The certificate authority of the device: the CSA's for tests, as matter.js has it.
(cd $dir && node --input-type=module -e '
	import { writeFileSync } from "node:fs";
	import { TestCert_PAA_NoVID_Cert } from "@matter/main/protocol";
	writeFileSync(process.argv[1], TestCert_PAA_NoVID_Cert);' "$work/paa/test.der")
page=
[ $# -gt 0 ] || page="--page docs/matter.md"
status=0
# The variable is a list of words.
# shellcheck disable=SC2086
nice python3 $dir/run.py bin/bluez-esphome "$work" chip="$PWD/$venv/bin/python" noble=node "$@" $page || status=$?
echo "logs: $work"
exit "$status"
