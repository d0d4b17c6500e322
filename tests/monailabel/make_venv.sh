#!/usr/bin/env bash
# Make a virtual environment in which MONAI Label 0.8.5 serves our bundles, and pytest asks it.
#
#   PYTHON=python3.11 tests/monailabel/make_venv.sh FOLDER
#
# Takes minutes and 4 GB. MONAI Label came out in 2024; the pins say what of today it cannot take. A CPU build of PyTorch
# is enough; which build is installed is up to pip's own settings.
set -euo pipefail
venv=${1:?"usage: $0 FOLDER"}
python=${PYTHON:-python3}
here=$(cd "$(dirname "$0")" && pwd)

"$python" - <<'CHECK'
import sys
if not (3, 11) <= sys.version_info < (3, 13):
    sys.exit(f"MONAI Label needs NumPy 1, so Python 3.11 or 3.12; this is {sys.version.split()[0]}: set PYTHON to another")
CHECK

packages=(
    torch==2.13.0                    # what the bundles' weights and tests were made with
    monai==1.6.1                     # the same; 0.8.5 asks for 1.4 or later
    monailabel==0.8.5
    "$here/stubs/torchvision"        # MONAI Label imports it, but uses nothing of it for bundles
    "$here/stubs/sam2"               # required, but not used for bundles
    "pydicom<3"                      # pydicom-seg imports a module that 3 no longer has
    "pynetdicom<3"                   # 3 needs pydicom 3
    "dicomweb-client[gcp]<0.60"      # later ones need pydicom 3
    "numpy<2"                        # numpymaxflow is compiled for NumPy 1
    "setuptools"                     # has distutils, which Python 3.12 no longer has
    "numba>=0.61,<1"                 # our bundles; the rest of what they need comes with MONAI Label
    "networkx>=3.2,<4"
    "pytest>=8,<10"
)
if [ -e "$venv" ] && [ ! -e "$venv/pyvenv.cfg" ]; then
    echo "$venv is there and is no virtual environment: name another folder" >&2
    exit 1
fi
"$python" -m venv --clear "$venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check "${packages[@]}"
