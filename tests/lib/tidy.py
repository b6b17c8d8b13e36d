"""Runs clang-tidy on every .cpp of ours whose inputs changed since it last passed."""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path


def dependencies(build):
    """Object file -> headers, as ninja recorded them when it compiled."""
    table, current = {}, None
    text = subprocess.run(["ninja", "-C", build, "-t", "deps"], capture_output=True, text=True).stdout
    for line in text.splitlines():
        if line.startswith("    "):
            current.append(line.strip())
        elif ": #deps" in line:
            current = table.setdefault(line.split(": #deps")[0], [])
    return table


class Hasher:
    def __init__(self, build, salt):
        self.build, self.salt, self.files = build, salt, {}

    def of_file(self, path):
        # A system header is known by size and time; ours by contents, which checkouts keep.
        if path not in self.files:
            full = self.build / path
            if str(path).startswith("/usr/"):
                stat = full.stat()
                self.files[path] = f"{stat.st_size} {stat.st_mtime_ns}"
            else:
                self.files[path] = hashlib.sha256(full.read_bytes()).hexdigest()
        return self.files[path]

    def key(self, entry, headers):
        digest = hashlib.sha256((self.salt + entry["command"]).encode())
        for path in sorted({entry["file"], *headers}):
            digest.update(f"{path} {self.of_file(path)}\n".encode())
        return digest.hexdigest()


def touched(repo, commits):
    """Sources that the last commits changed, or the headers of; None when that can't be told."""
    done = subprocess.run(["git", "-C", repo, "log", f"-{commits}", "--name-only", "--format="],
                          capture_output=True, text=True)
    if done.returncode != 0:
        return None
    return {Path(name).with_suffix("") for name in done.stdout.split() if name.endswith((".cpp", ".hpp"))}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("--tidy", "--repo", "--build"):
        parser.add_argument(name, required=True)
    parser.add_argument("--full", action="store_true", help="tests too, and the path-sensitive analyzer")
    parser.add_argument("--last", type=int, metavar="COMMITS",
                        help="only what these commits touched, not all")
    parser.add_argument("--most", type=int, metavar="FILES", help="of those, so many; the rest is for --full")
    options = parser.parse_args()
    repo, build = Path(options.repo), Path(options.build).resolve()
    cache = repo / "build" / "tidy-cache"
    cache.mkdir(parents=True, exist_ok=True)
    version = subprocess.run([options.tidy, "--version"], capture_output=True, text=True).stdout
    hasher = Hasher(build, f"{version}{(repo / '.clang-tidy').read_text()}{options.full}")
    # The analyzer takes as long as all other checks together.
    checks = [] if options.full else ["--checks=-clang-analyzer-*"]
    headers = dependencies(build)

    recent = touched(repo, options.last) if options.last else None

    work, passed = [], 0
    for entry in json.loads((build / "compile_commands.json").read_text()):
        if not Path(entry["file"]).is_relative_to(repo) or Path(entry["file"]).is_relative_to(repo / "build"):
            continue
        if not options.full and Path(entry["file"]).is_relative_to(repo / "tests"):
            continue
        if recent is not None and Path(entry["file"]).relative_to(repo).with_suffix("") not in recent:
            continue
        words = entry["command"].split()
        known = headers.get(words[words.index("-o") + 1])
        try:
            key = hasher.key(entry, known) if known else None
        except FileNotFoundError:  # a header that is gone: the record is older than the source
            key = None
        if key and (cache / key).exists():
            os.utime(cache / key)
            passed += 1
        else:
            work.append((entry["file"], key))

    if options.most and len(work) > options.most:
        print(f"{len(work)} files are to be looked at, {options.most} now")
        work = work[:options.most]

    def check(item):
        path, key = item
        start = time.monotonic()
        done = subprocess.run([options.tidy, "--quiet", "-p", build, *checks, "--extra-arg=-Wno-unknown-warning-option",
                               "--extra-arg=-Wno-deprecated-declarations", path],
                              capture_output=True, text=True)
        if done.returncode == 0 and key:
            (cache / key).touch()
        return path, done.returncode, done.stdout + (done.stderr if not done.stdout else ""), time.monotonic() - start

    failed = 0
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for path, status, output, seconds in pool.map(check, work):
            name = Path(path).relative_to(repo)
            print(f"{'ok  ' if status == 0 else 'FAIL'} {name} ({seconds:.1f} s)", flush=True)
            if status != 0:
                failed += 1
                print(output, flush=True)
    for stale in cache.iterdir():
        if time.time() - stale.stat().st_mtime > 30 * 86400:
            stale.unlink()
    print(f"clang-tidy: {len(work) - failed} checked, {passed} unchanged, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
