#!/bin/sh
# Looks for known vulnerabilities in every version of constraints.txt and package-lock.json.
#
#   sh scripts/audit.sh             status 1 if there is one; `make check` calls it
#
# Both services are on the internet. Where one cannot be reached, that is said and the status is 0: nothing was found,
# and nothing was looked at. Packages that a service does not know are counted.
set -eu
cd "$(dirname "$0")/.."

# Vulnerabilities that do not concern us or have no remedy yet, each with its reason: --ignore-vuln ID
accepted=""

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
status=0

# read_json FILE CODE: runs Python CODE on `value`; fails if the file is not JSON
read_json() { .venv/bin/python -c "import json, sys; value = json.load(open(sys.argv[1])); $2" "$1" 2>/dev/null; }

python_packages() {
    # shellcheck disable=SC2086
    .venv/bin/pip-audit -r constraints.txt --no-deps --disable-pip --format json --progress-spinner off $accepted \
        >"$folder/python" 2>"$folder/python.said" </dev/null || true
    if ! found=$(read_json "$folder/python" '
for each in value["dependencies"]:
    for known in each.get("vulns", ()):
        fixed = ", ".join(known["fix_versions"]) or "no version"
        print("%s %s: %s, fixed in %s" % (each["name"], each["version"], known["id"], fixed))'); then
        if grep -qE 'requests\.exceptions|[Cc]onnect|[Tt]imed out|ServiceError' "$folder/python.said"; then
            echo "audit: the advisory service for Python packages cannot be reached; nothing was looked at"
            return
        fi
        echo "audit: pip-audit failed: $(tail -n 1 "$folder/python.said")" >&2
        status=1
        return
    fi
    read_json "$folder/python" '
asked = len(value["dependencies"])
known = sum("skip_reason" not in d for d in value["dependencies"])
print(f"audit: {known} of {asked} Python packages looked up" if known else
      "audit: the advisory service knows none of the Python packages; nothing was looked at")'
    if [ -n "$found" ]; then
        echo "$found" >&2
        status=1
    fi
}

javascript_packages() {
    if ! command -v npm >/dev/null; then
        echo "audit: npm was not found; JavaScript packages were not looked at"
        return
    fi
    npm audit --json >"$folder/npm" 2>"$folder/npm.said" </dev/null || true
    if ! count=$(read_json "$folder/npm" 'print(value["metadata"]["vulnerabilities"]["total"])'); then
        echo "audit: the advisory service for JavaScript packages cannot be reached; nothing was looked at"
        return
    fi
    echo "audit: JavaScript packages looked up, $count known vulnerabilities"
    if [ "$count" != 0 ]; then
        read_json "$folder/npm" '
for name, known in value["vulnerabilities"].items():
    print("%s: %s" % (name, known["severity"]))' >&2
        status=1
    fi
}

python_packages
javascript_packages
if [ "$status" != 0 ]; then
    echo "audit: FAILED; put a later version into the file, or the id and the reason into scripts/audit.sh" >&2
fi
exit "$status"
