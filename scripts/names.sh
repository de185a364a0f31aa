#!/bin/sh
# names.sh: writes the names of companies and services (Assigned Numbers of the Bluetooth SIG) for the panel of the live
# page. It takes them from the package bluetooth-numbers (PyPI, MIT), which it installs into a temporary folder. The
# file is compressed and has a number and a name in each line.
set -eu
cd "$(dirname "$0")/.."
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir"
"$dir/bin/pip" install --quiet bluetooth-numbers==1.1.2
"$dir/bin/python" - internal/beacon/names.gz <<'PY'
import gzip, sys
from bluetooth_numbers import company, service

lines = [f"c{n:04x} {name.strip()}\n" for n, name in sorted(company.items()) if n != 0xFFFF]
short = {}
for n, name in service.items():
    if isinstance(n, int):
        # In that package, some numbers of members are decimal although they begin with 0x.
        short[int(f"{n:x}") if n > 0xFFFF else n] = name.strip()
lines += [f"s{n:04x} {name}\n" for n, name in sorted(short.items())]
with open(sys.argv[1], "wb") as raw, gzip.GzipFile("", "wb", 9, raw, mtime=0) as out:
    out.write("".join(lines).encode())
PY
