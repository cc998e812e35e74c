#!/bin/sh
# Makes .venv fit for `make demo` (base) or `make test` (dev), and does nothing when it already is.
#
#   sh scripts/setup.sh base        the demo, typed and spoken
#   sh scripts/setup.sh dev         the same with the test tools
#   PYTHON=/path/to/python3.12 sh scripts/setup.sh base
#
# .venv/.base and .venv/.dev hold a fingerprint of what was installed. They are written last, so an
# interrupted install is taken up again, and they change with the folder, which .venv's programs name.
set -eu
cd "$(dirname "$0")/.."

level=${1:?expected base or dev}
base=".[bench,voice]"
case $level in
    base) what=$base ;;
    dev) what=".[${TEST_EXTRAS:-dev}]" ;;
    *) echo "setup: expected base or dev, got '$level'" >&2; exit 2 ;;
esac

fingerprint=$({ pwd; echo "$what"; cat pyproject.toml constraints.txt; } | cksum)
current() { [ -x .venv/bin/python ] && [ "$(cat ".venv/.$level" 2>/dev/null)" = "$fingerprint" ]; }
if current; then exit 0; fi

# Runs a candidate rather than looking for it: a version manager's shim may exist for a Python that
# is not installed. Says ok, or no-venv for a Python that came without venv and pip (Debian, Ubuntu).
kind_of() {
    "$1" -c '
import sys
if sys.version_info < (3, 11): sys.exit("old")
try:
    import ensurepip, venv
    print("ok")
except ImportError:
    print("no-venv")
' 2>/dev/null || true
}

find_python() {
    without_venv=
    for candidate in ${PYTHON:-python3.13 python3.12 python3.11 python3 python}; do
        case $(kind_of "$candidate") in
            ok) echo "$candidate"; return 0 ;;
            no-venv) without_venv=${without_venv:-$candidate} ;;
        esac
    done
    if [ -n "$without_venv" ]; then
        version=$("$without_venv" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
        echo "make: $without_venv (Python $version) cannot make virtual environments." >&2
        echo "      On Debian or Ubuntu: sudo apt-get install python$version-venv" >&2
    else
        echo "make: Python 3.11 or newer was not found (tried: ${PYTHON:-python3.13 python3.12 python3.11 python3 python})." >&2
        echo "      Install it from python.org or your system's packages," >&2
        echo "      or name it: make demo PYTHON=/path/to/python3.12" >&2
    fi
    return 1
}

# A half-made or outdated environment (no pip, an older Python, a removed interpreter) is made anew.
if [ "$(kind_of .venv/bin/python)" != ok ] || ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
    python=$(find_python)
    echo "Making .venv with $("$python" --version) ..."
    "$python" -m venv --clear .venv
fi

# No stamp may outlive the moment in which packages begin to change.
rm -f .venv/.base .venv/.dev
case $level in
    base) echo "Installing what the demo needs (the first time takes a few minutes) ..." ;;
    dev) echo "Installing what the tests need (the first time takes a few minutes) ..." ;;
esac
quiet=
if [ -n "${CI:-}" ]; then quiet=--quiet; fi
# --upgrade-strategy only-if-needed (pip's default): pins move only when constraints.txt does.
if ! .venv/bin/python -m pip install $quiet --no-input --disable-pip-version-check \
    -c constraints.txt -e "$what"; then
    echo "make: installing failed, see pip's message above; the same command goes on where it stopped." >&2
    exit 1
fi

echo "$fingerprint" > ".venv/.$level"
if [ "$level" = dev ]; then
    # The tests' environment contains the demo's.
    { pwd; echo "$base"; cat pyproject.toml constraints.txt; } | cksum > .venv/.base
fi
