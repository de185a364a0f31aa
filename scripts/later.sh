#!/bin/sh
# later.sh TARGET WITH: says that a target is not there yet, and fails: nothing was done.
echo "make $1: not in this release; it comes with $2" >&2
exit 1
