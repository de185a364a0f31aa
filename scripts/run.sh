#!/bin/sh
# run.sh PROGRAM: builds the program and runs the demonstration or, with CONFIG, the daemon with real proxies on the bus
# BUS.
set -eu
cd "$(dirname "$0")/.."
program=$1
. scripts/lib.sh
need_go
need_own
# This check comes before the build, which takes a minute. The output is a list of words.
# shellcheck disable=SC2046
install_packages $(missing_for demo)
sh scripts/build.sh "$program"
if [ -n "${CONFIG:-}" ]; then
	exec "$program" run --config "$CONFIG" --bus "${BUS:-private}"
fi
exec "$program" demo
