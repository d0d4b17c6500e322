"""What all tests share: the bundles under test, real images where there are some, and one thread for each process."""

import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: more threads than cores cost a factor of 40
os.environ.setdefault("NUMBA_NUM_THREADS", "1")

import pytest

ROOT = Path(__file__).parents[1]
BUNDLES = sorted(path for path in (ROOT / "bundles").iterdir() if path.is_dir())
XCA = [path for path in BUNDLES if path.name in {"casrnet_bundle", "svsnet_bundle"}]  # X-ray angiograms
DATA = Path(os.environ.get("CORONARY_DATA", ROOT.parent / "shared" / "data"))  # real images, where there are some
CT = [path for path in BUNDLES if path not in XCA]


@pytest.fixture(params=BUNDLES, ids=lambda path: path.name)
def bundle(request: pytest.FixtureRequest) -> Path:
    """Each bundle folder in turn."""
    return request.param


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real images: CORONARY_DATA, or shared/data beside the repository."""
    if not DATA.is_dir():
        pytest.skip("no real images: set CORONARY_DATA to their folder")
    return DATA
