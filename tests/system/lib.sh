# lib.sh: what the shell tests share; sourced first by each. Gives them
#   $build, $source   the build and source directories
#   $shim, $faulty    the shim, and its twin that BOXLEDGER_FAULT breaks
#   $boxledger        the command
#   $work             a directory of the test's own, gone at its end
#   skip WHY, fail WHY
# shellcheck shell=bash disable=SC2034
set -euo pipefail

source=${BOXLEDGER_SOURCE:-$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)}
build=${BOXLEDGER_BUILD:-$source/build}
shim=$build/libboxledger.so
faulty=$build/libboxledger-faulty.so
boxledger=$build/boxledger
long=${BOXLEDGER_LONG:-0}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The environment of a test is its own. An ordinary user's PATH has neither ldconfig nor setcap.
unset BOXLEDGER_OPTIONS LD_PRELOAD BOXLEDGER_FAULT
PATH=$PATH:/usr/sbin:/sbin

skip() {
    echo "skip: $*"
    exit 77
}

fail() {
    echo "FAIL: $*" >&2
    exit 1
}

[[ -e $shim ]] || fail "no shim at $shim: build first"
