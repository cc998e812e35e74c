#!/bin/sh
# Runs all tests: pytest (with the page in a real browser), then the JavaScript tests under node.
#
#   sh scripts/test.sh [pytest arguments]
#
# Both run even when the first fails, the last line says how each ended, and the exit status is
# pytest's unless only the JavaScript tests failed.
set -eu
cd "$(dirname "$0")/.."

DUPLEX_CHROMIUM=$(sh scripts/chromium.sh)
export DUPLEX_CHROMIUM

python=passed status=0
.venv/bin/python -m pytest "$@" || { status=$?; python="FAILED (exit $status)"; }

# File names, not the folder: from node 22 on `node --test FOLDER` looks for a module of that name.
tests=$(find tests/js -type f \( -name '*.test.js' -o -name '*.test.mjs' -o -name 'test_*.js' -o -name 'test-*.js' \) 2>/dev/null | sort)
if [ -z "$tests" ]; then
    javascript="no tests in tests/js"
elif ! command -v node >/dev/null; then
    javascript="NOT RUN, node was not found (install Node.js 20 or newer to run tests/js)"
elif node --test --test-reporter=spec $tests; then
    javascript=passed
else
    javascript=FAILED
    if [ "$status" = 0 ]; then status=1; fi
fi

echo
echo "pytest: $python; JavaScript tests: $javascript"
exit "$status"
