#!/bin/sh
# stream-tools.sh: installs what tests/stream needs and make test does not install: Debian's Mosquitto, and Theengs
# Gateway in .venv-theengs, whose decoder is built with a C++ compiler. make test does not install them, since the
# package of a broker starts that broker.
set -eu
cd "$(dirname "$0")/.."
. scripts/lib.sh
list=
if ! command -v mosquitto >/dev/null 2>&1 && [ ! -x /usr/sbin/mosquitto ]; then list="$list mosquitto"; fi
command -v mosquitto_sub >/dev/null 2>&1 || list="$list mosquitto-clients"
command -v c++ >/dev/null 2>&1 || list="$list g++ python3-dev"
# The variable is a list of packages.
# shellcheck disable=SC2086
install_packages $list
wanted=$(cat tests/stream/requirements.txt && python3 --version)
if [ "$(cat .venv-theengs/installed 2>/dev/null)" != "$wanted" ]; then
	echo "== installing the programs of tests/stream/requirements.txt into .venv-theengs"
	rm -rf .venv-theengs
	python3 -m venv .venv-theengs
	.venv-theengs/bin/pip install -q --disable-pip-version-check -r tests/stream/requirements.txt
	echo "$wanted" >.venv-theengs/installed
fi
