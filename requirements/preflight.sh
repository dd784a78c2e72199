#!/bin/sh
# Looks for what an installation needs, before it starts: git, a C compiler and a Python 3.11 to 3.13 with venv and headers.
# Prints the Python to use. Otherwise says what is missing and which Debian package brings it, and exits with code 1.
# PYTHON=... names one Python instead of the usual ones; CC=... another C compiler.
set -u

# Must run under every Python there is, to be able to say that it is too old.
probe='
import os, sys, sysconfig
found = ["%d.%d" % sys.version_info[:2]]
try:
    import ensurepip, venv
    found.append("venv")
except ImportError:
    pass
if os.path.exists(os.path.join(sysconfig.get_paths()["include"], "Python.h")):
    found.append("headers")
print(" ".join(found))
'

missing=0
miss() {
    [ "$missing" -eq 1 ] || echo "considerate cannot be installed yet:" >&2
    missing=1
    echo "  - $1" >&2
    echo "    On Debian or Ubuntu: apt-get install $2" >&2
}

command -v git >/dev/null 2>&1 || miss "git is missing." git

compiler=${CC:-cc}
if ! command -v "${compiler%% *}" >/dev/null 2>&1; then
    miss "A C compiler is missing (looked for: ${compiler%% *}); LightFM is built from source." build-essential
else
    scratch=$(mktemp -d) || exit 1
    trap 'rm -rf "$scratch"' EXIT
    printf '#include <stdio.h>\nint main(void) { return puts("") < 0; }\n' > "$scratch/probe.c"
    # Unquoted: CC may carry options.
    $compiler -o "$scratch/probe" "$scratch/probe.c" >/dev/null 2>&1 ||
        miss "The C compiler ($compiler) cannot compile a program; its headers may be missing." build-essential
fi

chosen='' incomplete='' others=''
# python3 first: it is what the user has activated, or what the distribution supports best.
for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
    found=$("$candidate" -c "$probe" 2>/dev/null) || continue
    case "$found" in
        "3.11 venv headers" | "3.12 venv headers" | "3.13 venv headers") chosen=$candidate && break ;;
        3.11* | 3.12* | 3.13*) incomplete=${incomplete:-$found} ;;
        *) others="$others $candidate (${found%% *})" ;;
    esac
done

if [ -z "$chosen" ] && [ -n "$incomplete" ]; then
    version=${incomplete%% *}
    case "$incomplete" in *venv*) ;; *) miss "Python $version is there, but without venv (ensurepip)." "python$version-venv" ;; esac
    case "$incomplete" in *headers*) ;; *) miss "Python $version is there, but without its headers (Python.h)." "python$version-dev" ;; esac
elif [ -z "$chosen" ]; then
    miss "Python 3.11, 3.12 or 3.13 is missing (looked for: ${PYTHON:-python3 python3.13 python3.12 python3.11}; found:${others:- none}).
    If it is somewhere else, name it: make PYTHON=/path/to/python3.12" "python3 python3-venv python3-dev"
fi

[ "$missing" -eq 0 ] || exit 1
echo "$chosen"
