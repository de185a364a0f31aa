#!/bin/sh
# audit.sh: prints the known vulnerabilities in functions that the program calls (govulncheck, with the database at
# vuln.go.dev). Where it cannot reach the database, it says so and lists the modules that have newer versions, for a
# review by hand.
set -eu
cd "$(dirname "$0")/.."
. scripts/lib.sh
need_go

GOVULNCHECK=golang.org/x/vuln/cmd/govulncheck@v1.9.0

out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
status=0
"$GO" run "$GOVULNCHECK" ./... >"$out/vuln" 2>&1 || status=$?
if ! grep -q 'fetching vulnerabilities\|cannot find module' "$out/vuln"; then
	cat "$out/vuln"
	exit "$status"
fi
echo "audit.sh: govulncheck cannot be run or its database cannot be reached; newer versions of what is in the program instead:"
"$GO" build -o "$out/program" ./cmd/bluez-esphome
"$GO" version -m "$out/program" | awk '$1 == "dep" { print $2, $3 }' | while read -r module version; do
	newer=$("$GO" list -m -u -f '{{with .Update}}{{.Version}}{{end}}' "$module" 2>/dev/null) || newer="(cannot ask)"
	[ -z "$newer" ] || echo "  $module $version: $newer"
done
