#!/bin/sh
# Makes the environment, or brings it up to date: environment.sh FOLDER
# Does nothing while the locks, pyproject.toml, the place and the wished-for Python are those of the last time.
set -eu
venv=$1
case "$venv" in /*) place=$venv ;; *) place=$(pwd)/$venv ;; esac

version() { "$1" -c 'import sys; print(*sys.version_info[:2])' 2>/dev/null; }

wanted="$(cat requirements/uv.txt requirements/dev.txt pyproject.toml | cksum) $place ${PYTHON:-}"
if [ "$(cat "$venv/.made-from" 2>/dev/null)" = "$wanted" ] && version "$venv/bin/python" >/dev/null; then exit 0; fi

python=$(sh requirements/preflight.sh)
echo "Installing into $venv with $python (one to two minutes and 1.3 GB, once) ..." >&2
rm -f "$venv/.made-from"
# Another Python, or a folder that was moved here (its scripts still name the old place): start over.
if [ "$(version "$venv/bin/python")" != "$(version "$python")" ] || ! grep -q "m venv $place\$" "$venv/pyvenv.cfg"; then
    rm -rf "$venv"
    "$python" -m venv "$venv"
fi
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
# LightFM is built with the compiler that the preflight has tried.
export CC="${CC:-cc}"
# uv trusts what pip was told to trust.
[ -z "${PIP_CERT:-}" ] || export SSL_CERT_FILE="${SSL_CERT_FILE:-$PIP_CERT}"
"$venv/bin/uv" pip sync --quiet --compile-bytecode --python "$venv/bin/python" --require-hashes requirements/uv.txt requirements/dev.txt
"$venv/bin/uv" pip install --quiet --python "$venv/bin/python" --no-deps --no-build-isolation --editable .
echo "$wanted" > "$venv/.made-from"
