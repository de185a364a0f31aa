#!/bin/sh
# test-home-assistant.sh [OPTION…]: runs the real Home Assistant with shared proxies. The options are those of
# tests/ha/check.py. It needs root, Debian and mmdebstrap. The first run makes a root of 2.5 GB outside of the
# repository (HA_ROOT), which takes 4 minutes; everything takes 15. Without options it writes
# docs/evidence/home-assistant.md.
set -eu
cd "$(dirname "$0")/.."
. scripts/lib.sh
need_go
[ "$(id -u)" -eq 0 ] || stop "make test-home-assistant needs root, to make a root; paste: sudo make test-home-assistant"
command -v mmdebstrap >/dev/null 2>&1 || install_packages mmdebstrap
GO="$GO" sh scripts/build.sh bin/bluez-esphome
HA_WORK=$(mktemp -d)
export HA_WORK
status=0
sh tests/ha/run.sh bin/bluez-esphome "$@" || status=$?
if [ $# -eq 0 ] && [ -f "$HA_WORK/page.md" ]; then
	cp "$HA_WORK/page.md" docs/evidence/home-assistant.md
fi
echo "logs: $HA_WORK"
exit "$status"
