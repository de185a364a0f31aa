#!/bin/sh
# lint.sh: checks formatting, runs go vet, staticcheck and shellcheck, and checks that the generated code is up to date.
set -eu
cd "$(dirname "$0")/.."
. scripts/lib.sh
need_go

# The newest release that reads Go 1.26's export data.
STATICCHECK=honnef.co/go/tools/cmd/staticcheck@v0.8.2

echo "== gofmt"
unformatted=$("$("$GO" env GOROOT)/bin/gofmt" -l cmd internal tests tools)
if [ -n "$unformatted" ]; then
	echo "gofmt these: $unformatted" >&2
	exit 1
fi
echo "== go vet"
"$GO" vet ./...
"$GO" -C tools vet ./...
echo "== staticcheck"
"$GO" run "$STATICCHECK" ./...
if command -v shellcheck >/dev/null 2>&1; then
	echo "== shellcheck"
	shellcheck -x scripts/*.sh scripts/install/*.sh scripts/deb/bluez-esphome-setup scripts/deb/p* .ci/run
else
	echo "== shellcheck: not installed, skipped"
fi
echo "== generated code"
before=$(mktemp -d)
trap 'rm -rf "$before"' EXIT
cp internal/apiwire/apipb/*.go internal/apiwire/ids.gen.go "$before"
GO="$GO" sh scripts/generate.sh
for f in "$before"/*.go; do
	if ! cmp -s "$f" internal/apiwire/apipb/"${f##*/}" && ! cmp -s "$f" internal/apiwire/"${f##*/}"; then
		echo "${f##*/} in internal/apiwire was out of date: commit what make generate wrote" >&2
		exit 1
	fi
done
