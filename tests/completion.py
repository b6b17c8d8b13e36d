#!/usr/bin/env python3
"""The shells' completions in the shells themselves: bash and zsh at a terminal, with a line typed, the
tabulator pressed and the line sent; bash's and fish's lists of candidates. The names are those of a VM
that runs.

    completion.py        VMRIG: the program, default build/release/launcher/vmrig
"""
import json
import os
import pathlib
import pty
import re
import select
import shutil
import subprocess
import sys
import tempfile
import time

REPO = pathlib.Path(__file__).resolve().parent.parent
VMRIG = os.environ.get("VMRIG", str(REPO / "build/release/launcher/vmrig"))
SCRIPTS = REPO / "launcher/completion"
DEADLINE_S = 20


class Failed(Exception):
    pass


def check(what, got, wanted):
    if got != wanted:
        raise Failed(f"{what}: {got!r} instead of {wanted!r}")


class Terminal:
    """A shell at a terminal. Its `vmrig` completes, and else prints the words that it was given."""

    def __init__(self, argv, environment):
        pid, self.fd = pty.fork()
        if pid == 0:
            os.execvpe(argv[0], argv, environment)
        self.pid = pid
        self.seen = b""

    def read_until(self, pattern):
        end = time.monotonic() + DEADLINE_S
        while True:
            found = re.search(pattern, self.seen)
            if found:
                self.seen = self.seen[found.end():]
                return found
            if not select.select([self.fd], [], [], max(0, end - time.monotonic()))[0]:
                raise Failed(f"no {pattern} within {DEADLINE_S} s, but {self.seen!r}")
            try:
                self.seen += os.read(self.fd, 4096)
            except OSError as fault:
                raise Failed(f"the shell has ended: {self.seen!r}") from fault

    def send(self, text):
        os.write(self.fd, text.encode())

    def words_after(self, typed):
        """What `typed` and the tabulator make of the line, as the words of vmrig."""
        self.send(typed + "\t\r")
        return json.loads(self.read_until(rb"WORDS(\[.*?\])END").group(1))

    def close(self):
        os.kill(self.pid, 9)
        os.waitpid(self.pid, 0)
        os.close(self.fd)


# Typed before the tabulator, and the words that come of it.
TYPED = [
    ("vmrig sto", ["stop"]),
    ("vmrig host ch", ["host", "check"]),
    ("vmrig stop we", ["stop", "web-1"]),
    ("vmrig stop --force we", ["stop", "--force", "web-1"]),
    ("vmrig stop web-1 --ti", ["stop", "web-1", "--timeout"]),
    ("vmrig detach web-1 ne", ["detach", "web-1", "net0"]),
    ("vmrig attach web-1 di", ["attach", "web-1", "disk"]),
    ("vmrig attach web-1 disk @di", ["attach", "web-1", "disk", "@disk.json"]),
    ("vmrig plan ot", ["plan", "other.json"]),
    ("vmrig plan --facts=ot", ["plan", "--facts=other.json"]),
    ("vmrig plan fol", ["plan", "folder/"]),
    ("vmrig plan x --set cpu.vc", ["plan", "x", "--set", "cpu.vcpus="]),
    ("vmrig plan x --set profile=n", ["plan", "x", "--set", "profile=nfv"]),
    ("vmrig plan x --set=profile=n", ["plan", "x", "--set=profile=nfv"]),
    ("vmrig set web-1 link.net0=u", ["set", "web-1", "link.net0=up"]),
    ("vmrig qmp web-1 query-kv", ["qmp", "web-1", "query-kvm"]),
    ("vmrig events web-1 --match STOP,RESU", ["events", "web-1", "--match", "STOP,RESUME"]),
    ("vmrig top --sort sw", ["top", "--sort", "switches"]),
    ("vmrig metrics we", ["metrics", "web-1"]),
    ("vmrig --state-dir {state} stop we", ["--state-dir", "{state}", "stop", "web-1"]),
    ("vmrig --state-dir={state} stop we", ["--state-dir={state}", "stop", "web-1"]),
    ("vmrig stop nothing-like-it", ["stop", "nothing-like-it"]),
]
# A line, some of its candidates, and something that is none of them.
LISTS = [
    ("vmrig ", {"plan", "run", "host", "vfio", "help"}, "complete"),
    ("vmrig vfio ", {"list", "bind", "release"}, "set"),
    ("vmrig stop ", {"web-1"}, "net0"),
    ("vmrig stop web-1 --", {"--force", "--timeout", "--json"}, "--follow"),
    ("vmrig detach web-1 ", {"net0", "rng0"}, "web-1"),
    ("vmrig attach web-1 ", {"disk", "nic", "vfio", "usb", "memory", "rng"}, "serial"),
    ("vmrig set web-1 ", {"vcpus=", "memory=", "balloon=", "link."}, "link.net0="),
    ("vmrig set web-1 link.", {"link.net0="}, "vcpus="),
]


def at_terminals(work, environment):
    programs = {
        "bash": (["bash", "--norc", "--noprofile", "-i"],
                 f"bind 'set enable-bracketed-paste off'; . {SCRIPTS}/vmrig.bash"),
        "zsh": (["zsh", "-f", "-i"],
                f"fpath=({SCRIPTS} $fpath); unsetopt zle_bracketed_paste beep auto_remove_slash; "
                "autoload -Uz compinit; compinit -u -D; zstyle ':completion:*' menu no"),
    }
    for shell, (argv, setup) in programs.items():
        terminal = Terminal(argv, environment)
        try:
            # The line itself shows "DO""NE" with quotes between.
            terminal.send(f"cd {work}; {setup}; echo 'DO''NE'\r")
            terminal.read_until(rb"DONE")
            for typed, wanted in TYPED:
                state = environment["VMRIG_STATE_DIR"]
                got = terminal.words_after(typed.replace("{state}", state))
                check(f"{shell}: {typed}", got, [word.replace("{state}", state) for word in wanted])
        finally:
            terminal.close()
        print(f"{shell}: {len(TYPED)} lines completed as they should")


def bash_candidates(line, work, environment):
    words = re.findall(r"[^ ]+|(?<= )$", line)
    script = (f". {SCRIPTS}/vmrig.bash; COMP_LINE=$1 COMP_POINT=${{#1}}; shift; COMP_WORDS=(\"$@\"); "
              "COMP_CWORD=$(($# - 1)); _vmrig; printf '%s\\n' \"${COMPREPLY[@]}\"")
    result = subprocess.run(["bash", "-c", script, "bash", line, *words], cwd=work, env=environment,
                            capture_output=True, text=True, timeout=DEADLINE_S, check=True)
    return {candidate.strip() for candidate in result.stdout.splitlines()}


def fish_candidates(line, work, environment):
    script = f"source {SCRIPTS}/vmrig.fish; complete -C \"$argv[1]\""
    result = subprocess.run(["fish", "--no-config", "-c", script, line], cwd=work, env=environment,
                            capture_output=True, text=True, timeout=DEADLINE_S, check=True)
    return {candidate.split("\t")[0] for candidate in result.stdout.splitlines()}


def lists(work, environment):
    for shell, candidates in (("bash", bash_candidates), ("fish", fish_candidates)):
        for line, wanted, unwanted in LISTS:
            got = candidates(line, work, environment)
            check(f"{shell}: missing at {line!r}", wanted - got, set())
            check(f"{shell}: surplus at {line!r}", unwanted in got, False)
    # fish takes the one candidate that there is.
    for typed, words in TYPED[:-1]:
        state = environment["VMRIG_STATE_DIR"]
        got = fish_candidates(typed.replace("{state}", state), work, environment)
        check(f"fish: {typed}", got, {words[-1].replace("{state}", state)})
    print(f"bash, fish: {len(LISTS)} lists of candidates; fish: {len(TYPED) - 1} lines completed")


def main():
    missing = [shell for shell in ("bash", "zsh", "fish") if not shutil.which(shell)]
    if missing:
        raise Failed(f"missing: {missing}; apt-get install {' '.join(missing)}")
    with tempfile.TemporaryDirectory(prefix="vmrig-completion.") as folder:
        # A QEMU with a user of its own has to pass through.
        os.chmod(folder, 0o755)
        work = pathlib.Path(folder)
        (work / "bin").mkdir()
        (work / "here/folder").mkdir(parents=True)
        (work / "here/disk.json").write_text("{}")
        (work / "here/other.json").write_text("{}")
        (work / "vm.json").write_text(json.dumps({
            "name": "web-1", "machine": {"accel": "tcg"}, "memory": {"size": "64MiB"},
            "nics": [{"id": "net0", "type": "user"}], "rngs": [{"id": "rng0"}]}))
        stub = work / "bin/vmrig"
        stub.write_text(f"""#!{sys.executable} -IS
import json, os, sys
if sys.argv[1] == "complete":
    os.execv({VMRIG!r}, ["vmrig", *sys.argv[1:]])
print("WORDS" + json.dumps(sys.argv[1:]) + "END")
""")
        stub.chmod(0o755)
        environment = dict(os.environ, VMRIG_STATE_DIR=str(work / "state"), HOME=folder,
                           PATH=f"{work}/bin:{os.environ['PATH']}", TERM="dumb", PS1="$ ", LC_ALL="C.UTF-8",
                           HISTFILE="/dev/null", INPUTRC="/dev/null")
        subprocess.run([VMRIG, "start", "--paused", str(work / "vm.json")], env=environment, check=True,
                       timeout=60, stdout=subprocess.DEVNULL)
        try:
            lists(work / "here", environment)
            at_terminals(work / "here", environment)
        finally:
            subprocess.run([VMRIG, "stop", "--force", "--all"], env=environment, timeout=60,
                           stdout=subprocess.DEVNULL, check=False)


if __name__ == "__main__":
    try:
        main()
    except Failed as fault:
        print(f"completion.py: {fault}", file=sys.stderr)
        sys.exit(1)
