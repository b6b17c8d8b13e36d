#!/bin/bash
# The manual pages: no warning of groff or mandoc, and every command, option and key that the program
# knows by its own word stands in them.
#   man.sh [BUILD]     default build/release
set -euo pipefail
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/lib/common.sh"
build=$(readlink -f "${1:-$repo/build/release}")
vmrig=${VMRIG:-$build/launcher/vmrig}
work=$(mktemp -d "${TMPDIR:-/tmp}/vmrig-man.XXXXXX")
trap 'rm -rf "$work"' EXIT

for page in vmrig.1 vmrig.json.5; do
  "$build/vmrig_man" "$repo/launcher/man/$page.in" "$work/$page"
  cmp "$work/$page" "$build/man/$page" || die "$build/man/$page is stale" "cmake --build $build"
  mandoc -T lint -W warning "$work/$page" || die "mandoc warns of $page"
  LC_ALL=C.UTF-8 MANWIDTH=200 man --warnings -E UTF-8 --nh --nj -l "$work/$page" >"$work/$page.txt" 2>"$work/warnings"
  [ ! -s "$work/warnings" ] || die "groff warns of $page: $(head -n 3 "$work/warnings")"
  # What a terminal would show, without its bold and underlined letters.
  col -b <"$work/$page.txt" >"$work/$page.plain"
done

PAGES=$work VMRIG=$vmrig python3 - <<'PYTHON'
import json, os, re, subprocess, sys

def words(*arguments):
    return subprocess.run([os.environ["VMRIG"], *arguments], check=True, text=True, capture_output=True).stdout

def lines_of(page):
    with open(f"{os.environ['PAGES']}/{page}.plain", encoding="utf-8") as text:
        return [line.strip() for line in text]

missing = []
manual = lines_of("vmrig.1")
commands = re.findall(r"^  ([a-z]+(?: [a-z]+)?)(?: [A-Z\[].*?)?  ", words("help"), re.M)
if len(commands) < 25:
    sys.exit(f"only {len(commands)} commands in vmrig help")
for command in commands:
    if command not in manual:
        missing.append(command)
        continue
    section = manual[manual.index(command) + 1:]
    section = section[:min((section.index(other) for other in commands if other in section), default=None)]
    for option in re.findall(r"^  (?:-\w,)?(--[a-z-]+)", words("help", *command.split()), re.M):
        if option in ("--help", "--state-dir"):
            continue
        if not any(re.search(rf"(^|, ){option}\b", line) for line in section):
            missing.append(f"{command} {option}")

keys = []
def walk(path, schema):
    for form in schema.get("anyOf", [schema]):
        if form is not schema:
            walk(path, form)
        for name, member in form.get("properties", {}).items():
            if not member.get("description", "").startswith("Not built yet"):
                keys.append(f"{path}.{name}" if path else name)
                walk(keys[-1], member)
        if "items" in form:
            walk(f"{path}[]", form["items"])
walk("", json.loads(words("schema")))
if len(keys) < 150:
    sys.exit(f"only {len(keys)} keys in vmrig schema")
manual = lines_of("vmrig.json.5")
# A short key has its text on its own line.
missing += [key for key in keys if not any(line == key or line.startswith(key + " ") for line in manual)]
if missing:
    sys.exit(f"not in the manual: {missing}")
print(f"{len(commands)} commands and {len(keys)} keys are in the manual")
PYTHON
say "the manual pages are whole, and nobody warns of them"
