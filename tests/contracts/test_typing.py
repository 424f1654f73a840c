"""A type checker sees the package's types through the door: right code passes, wrong code is named."""

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mypy", reason="types are not checked: mypy is not installed")
pytestmark = pytest.mark.once
ROOT = Path(__file__).resolve().parent.parent.parent
WRONG = {
    'vt.load_modle("moving-objects")': 'Module has no attribute "load_modle"',
    'vt.load_model("moving-objects", shcedule=None)': 'Unexpected keyword argument "shcedule"',
    "vt.read_clip(1, recipe)": 'Argument 1 to "read_clip" has incompatible type "int"',
    "model.dtype = recipe": 'Property "dtype" defined in "VideoModel" is read-only',
    'list(vt.encode_videos(model, [], output="logit", batch_size=1))': 'Argument "output" to "encode_videos"',
    'number: int = vt.find_sample_clip("left")': "Incompatible types in assignment",
}


def run_mypy(path: Path) -> subprocess.CompletedProcess[str]:
    options = ["--config-file", str(ROOT / "pyproject.toml"), "--cache-dir", str(ROOT / ".mypy_cache")]
    command = [sys.executable, "-m", "mypy", *options, str(path)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT)


def test_the_code_of_a_user_passes():
    result = run_mypy(ROOT / "tests" / "contracts" / "user_code.py")
    assert result.returncode == 0, result.stdout + result.stderr


def test_wrong_code_is_named_line_by_line(tmp_path):
    path = tmp_path / "wrong.py"
    begin = ["import vidtldr_jax as vt", "def run(model: vt.VideoModel, recipe: vt.Preprocessing) -> None:"]
    path.write_text("\n".join([*begin, *(f"    {line}" for line in WRONG)]) + "\n")
    lines = [line for line in run_mypy(path).stdout.splitlines() if ": error: " in line]
    for number, (code, message) in enumerate(WRONG.items(), start=len(begin) + 1):
        assert any(f":{number}: error: {message}" in line for line in lines), (code, lines)


def test_the_package_says_that_it_has_types():
    assert (ROOT / "vidtldr_jax" / "py.typed").read_text() == ""
