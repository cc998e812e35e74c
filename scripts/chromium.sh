#!/bin/sh
# Prints the path of a Chromium for the browser tests, and installs one where there is none.
#
#   sh scripts/chromium.sh          path on standard output, everything else on standard error
#
# In this order: $DUPLEX_CHROMIUM (none: print nothing, the browser tests fail), the system's, one that Playwright downloaded before, Debian's
# package, Playwright's download.
set -eu
cd "$(dirname "$0")/.."

# Ubuntu's chromium-browser may be a stub that only points at a snap: ask it for its version.
works() { [ -n "$1" ] && "$1" --version >/dev/null 2>&1; }

if [ "${DUPLEX_CHROMIUM:-}" = none ]; then exit 0; fi
if [ -n "${DUPLEX_CHROMIUM:-}" ]; then
    if works "$DUPLEX_CHROMIUM"; then echo "$DUPLEX_CHROMIUM"; exit 0; fi
    echo "chromium: DUPLEX_CHROMIUM is '$DUPLEX_CHROMIUM', which does not run" >&2
    exit 1
fi

system() {
    for name in chromium chromium-browser google-chrome google-chrome-stable \
        "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome" \
        "/Applications/Chromium.app/Contents/MacOS/Chromium"; do
        path=$(command -v "$name" 2>/dev/null || true)
        if works "$path"; then echo "$path"; return 0; fi
    done
    return 1
}

playwright() {
    path=$(.venv/bin/python -c '
from playwright.sync_api import sync_playwright
with sync_playwright() as playwright:
    print(playwright.chromium.executable_path)' 2>/dev/null || true)
    if works "$path"; then echo "$path"; return 0; fi
    return 1
}

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi; }

if system || playwright; then exit 0; fi

if grep -qs '^ID=debian' /etc/os-release && command -v apt-get >/dev/null && as_root true 2>/dev/null; then
    echo "No Chromium found: installing Debian's package (apt-get install chromium) ..." >&2
    as_root apt-get update -q >&2 || true
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends chromium \
        >&2 </dev/null || true
    if system; then exit 0; fi
fi

echo "No Chromium found: playwright install chromium ..." >&2
.venv/bin/python -m playwright install chromium >&2 </dev/null || true
if playwright; then exit 0; fi

echo "chromium: none found and none could be installed. Install Chromium or Chrome, or name one with" >&2
echo "          DUPLEX_CHROMIUM=/path/to/chromium; without the browser tests:" >&2
echo "          make test PYTEST_ARGS='-m \"not e2e\"' DUPLEX_CHROMIUM=none" >&2
exit 1
