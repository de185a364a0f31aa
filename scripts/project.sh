# The maintainer, the address of the project, and its version; sourced, not run. The first two are settings: whoever
# publishes packages sets them here, or in the environment.
# shellcheck shell=sh

# MAINTAINER is the address in the packages, in the form of Debian's control files.
MAINTAINER=${MAINTAINER:-"bluez-esphome authors <bluez-esphome@localhost>"}
# HOMEPAGE is the project's address on the web, without a final slash. Its issue tracker is at HOMEPAGE/issues. It is
# empty as long as there is no address.
HOMEPAGE=${HOMEPAGE:-}

# version prints VERSION if it is set, else the tag of this commit without its "v", else the output of git describe.
version() {
	described=${VERSION:-$(git describe --tags --always --dirty 2>/dev/null || echo unknown)}
	case $described in
	v[0-9]*) printf '%s\n' "${described#v}" ;;
	*) printf '%s\n' "$described" ;;
	esac
}

# epoch prints the time of the commit, in seconds since 1970. Everything that is made from the commit has that date.
epoch() { printf '%s\n' "${SOURCE_DATE_EPOCH:-$(git show -s --format=%ct HEAD 2>/dev/null || date +%s)}"; }

# bugs prints where to report bugs, for the manual pages.
bugs() {
	if [ -n "$HOMEPAGE" ]; then
		printf 'Report bugs at %s/issues.\n' "$HOMEPAGE"
	else
		printf 'Report bugs to %s.\n' "$MAINTAINER"
	fi
}
