# sandlock_environment.bash: what the tests on sandlock share, sourced after lib.sh: $python, an
# interpreter that its releases have wheels for, and environment VERSION, which makes
# $work/VERSION/bin/python one that has that release, or skips.
# shellcheck shell=bash disable=SC2154
python=
for candidate in python3.11 python3.12 python3.13 python3.10 python3.9 python3; do
    if "$candidate" -c 'import sys, venv, ensurepip; sys.exit(not (3, 9) <= sys.version_info[:2])' \
        2>/dev/null; then
        python=$candidate
        break
    fi
done
[[ -n $python ]] || skip "no python3 with venv"

environment() { # VERSION: a venv that holds this release
    local log=$work/$1.log
    "$python" -m venv "$work/$1" >"$log" 2>&1 || skip "no venv: $(tail -n 1 "$log")"
    "$work/$1/bin/pip" install --quiet --disable-pip-version-check --no-cache-dir \
        --only-binary=:all: --retries 1 --timeout 30 "sandlock==$1" >>"$log" 2>&1 ||
        skip "sandlock $1 cannot be installed: $(grep -i error "$log" | tail -n 1)"
}
