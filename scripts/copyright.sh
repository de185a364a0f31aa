#!/bin/sh
# copyright.sh BINARY…: prints the Debian copyright file of these binaries: our licence and that of every module in
# them, word for word. It fails if it does not know the licence of a module.
set -eu
cd "$(dirname "$0")/.."
. scripts/lib.sh
need_go

texts=$(mktemp -d)
trap 'rm -rf "$texts"' EXIT

# kind FILE prints the name of the licence in FILE.
kind() {
	if grep -q 'Apache License' "$1" && grep -q 'MIT License' "$1"; then echo "Apache-2.0 and Expat"
	elif grep -q 'Eclipse Public License' "$1" && grep -q 'Eclipse Distribution License' "$1"; then echo "EPL-2.0 or BSD-3-clause" # EDL 1.0 is the latter
	elif grep -q 'Apache License' "$1"; then echo Apache-2.0
	elif grep -q 'Mozilla Public License' "$1"; then echo MPL-2.0
	elif grep -q 'Permission is hereby granted, free of charge' "$1"; then echo Expat
	elif grep -q 'Redistribution and use in source and binary forms' "$1"; then
		if grep -q -i 'neither the name\|may not be used to endorse\|may be used to endorse' "$1"; then echo BSD-3-clause; else echo BSD-2-clause; fi
	else return 1; fi
}

# terms FILE prints an Apache License without the parts that differ from copy to copy.
terms() { sed '/END OF TERMS AND CONDITIONS/q' "$1" | tr -d '[:space:]'; }
ours=$(terms LICENSE)

# part NAME VERSION FOLDER prints one component and keeps its texts.
part() {
	found=
	for f in "$3"/LICENSE* "$3"/LICENCE* "$3"/COPYING* "$3"/edl-v10; do
		[ -f "$f" ] || continue
		k=$(kind "$f") || { echo "copyright.sh: $1 $2: ${f##*/} is a licence that is not known here" >&2; exit 1; }
		found="$found${found:+, }$k"
		# Every Debian has this text. A template to fill in follows the terms.
		if [ "$(terms "$f")" = "$ours" ]; then continue; fi
		sum=$(sha256sum <"$f" | cut -c1-12)
		cp "$f" "$texts/$sum"
		chmod u+w "$texts/$sum"
		echo "$1 $2" >>"$texts/$sum.names"
	done
	if [ -z "$found" ]; then
		echo "copyright.sh: $1 $2 has no LICENSE file" >&2
		exit 1
	fi
	printf '  %s %s: %s\n' "$1" "$2" "$found"
	for f in "$3"/NOTICE*; do
		[ -f "$f" ] || continue
		cp "$f" "$texts/notice-$(sha256sum <"$f" | cut -c1-12)"
		chmod u+w "$texts"/notice-*
		echo "$1 $2" >>"$texts/notice-$(sha256sum <"$f" | cut -c1-12).names"
	done
}

modules=$("$GO" version -m "$@" | awk '$1 == "dep" {print $2, $3}' | sort -u)
cat <<END
bluez-esphome is licensed under the Apache License, Version 2.0.
Copyright: the bluez-esphome authors.

On Debian systems the full text of that licence, also as it applies to the modules below, is in /usr/share/common-licenses/Apache-2.0.

The program is linked statically. It contains the Go run-time and standard library and these modules:

END
goversion=$("$GO" version "$1" | awk '{print $2}')
part Go "${goversion#go}" "$("$GO" env GOROOT)"
# Not a pipe: a failure has to end the script.
while read -r path version; do
	dir=$("$GO" list -m -f '{{.Dir}}' "$path")
	part "$path" "$version" "$dir"
done <<END
$modules
END
for names in "$texts"/*.names; do
	text=${names%.names}
	printf '\n%s\n' "------------------------------------------------------------------------"
	case ${text##*/} in notice-*) printf 'Notice of' ;; *) printf 'Licence of' ;; esac
	sed 's/^/ /; $!s/$/,/' "$names" | tr -d '\n'
	printf ':\n\n'
	cat "$text"
done
