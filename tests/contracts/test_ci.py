"""What .ci/ and .github/ name exists, and their versions are those that the package demands."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from vidtldr_jax.trust.versions import TESTED

ROOT = Path(__file__).resolve().parent.parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
WORKFLOW = yaml.safe_load((ROOT / ".github" / "workflows" / "checks.yml").read_text(encoding="utf-8"))
PARTS = sorted(path.name for path in (ROOT / ".ci").iterdir() if path.name != "run")
SCRIPTS = {f".ci/{path.name}": path.read_text(encoding="utf-8") for path in sorted((ROOT / ".ci").iterdir())}
MATRIX = WORKFLOW["jobs"]["tests"]["strategy"]["matrix"]["include"]


def list_commands():
    """Yields what each job runs, for every row of its matrix."""
    for name, job in WORKFLOW["jobs"].items():
        for row in job.get("strategy", {}).get("matrix", {}).get("include", [{}]):
            for step in job["steps"]:
                command = step.get("run", "")
                yield name, re.sub(r"\$\{\{ matrix\.(\w+) \}\}", lambda found, row=row: row[found[1]], command)


TEXTS = SCRIPTS | {f"{job}: {command}": command for job, command in list_commands() if command}


@pytest.mark.parametrize("where", TEXTS)
def test_what_is_named_exists(where):
    text = TEXTS[where]
    scripts = re.findall(r"(?<![\w/.])((?:scripts|\.ci)/\w[\w.]*)", text)
    for script in scripts:
        assert (ROOT / script).is_file(), script
        assert script.endswith(".py") or os.access(ROOT / script, os.X_OK), f"{script} can not be executed"
    for module in re.findall(r"python3? -m (scripts\.\w+)", text):
        assert (ROOT / module.replace(".", "/")).is_dir()
    extras = {extra for group in re.findall(r"\.\[([\w,]+)\]", text) for extra in group.split(",")}
    assert extras <= set(PROJECT["project"]["optional-dependencies"])


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_files_of_tests_that_a_script_names_exist(script):
    names = " ".join(re.findall(r"tests/[^\s)]+", SCRIPTS[script]))
    files = subprocess.run(["bash", "-c", f"echo {names}"], capture_output=True, text=True, check=True).stdout.split()
    assert [name for name in files if not (ROOT / name).exists()] == []
    assert bool(files) == (script in (".ci/newest", ".ci/oldest"))


def test_the_marks_that_scripts_name_are_declared():
    declared = {mark.split(":")[0] for mark in PROJECT["tool"]["pytest"]["ini_options"]["markers"]}
    scripts = [*SCRIPTS.values(), (ROOT / "scripts" / "check").read_text(encoding="utf-8")]
    named = {mark for text in scripts for words in re.findall(r"-m '([\w ]+)'", text) for mark in words.split()}
    assert named - {"not", "and", "or"} == {"benchmark", "once"} <= declared


def test_all_parts_run_here_and_on_github():
    assert re.findall(r"^run_part (\w+)", SCRIPTS[".ci/run"], flags=re.MULTILINE) == [
        "full",
        "required",
        "oldest",
        "newest",
    ]
    assert sorted(row["part"] for row in MATRIX) == PARTS
    commands = {(job, command) for job, command in list_commands()}
    assert {("lint", "scripts/check --lint"), ("docs", "scripts/build_docs")} <= commands


def test_the_pythons_are_the_oldest_and_the_newest_that_the_package_takes():
    oldest = PROJECT["project"]["requires-python"].removeprefix(">=")
    classifiers = PROJECT["project"]["classifiers"]
    known = [name.rpartition(" ")[2] for name in classifiers if name.startswith("Programming Language :: Python :: 3.")]
    newest = max(known, key=lambda version: int(version.partition(".")[2]))
    pythons = {row["part"]: row["python"] for row in MATRIX}
    assert pythons == {"required": oldest, "oldest": oldest, "full": oldest, "newest": newest}
    used = [step["with"]["python-version"] for step in list_steps("actions/setup-python")]
    assert set(used) == {oldest, "${{ matrix.python }}"}


def test_the_oldest_versions_are_those_that_were_tested(tmp_path):
    """`.ci/oldest` hands pip the versions themselves; a stand-in for Python records it."""
    fake = tmp_path / "python"
    fake.write_text(
        f'#!/bin/sh\n[ "$1" = -c ] && exec "{sys.executable}" "$@"\nprintf "%s\\n" "$@" >>"{tmp_path}/log"\n'
    )
    fake.chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    subprocess.run([ROOT / ".ci" / "oldest"], env=environment, check=True)
    words = (tmp_path / "log").read_text().splitlines()
    assert [word for word in words if "==" in word] == [f"{name}=={oldest}" for name, (oldest, _) in TESTED.items()]


def list_steps(action):
    steps = [step for job in WORKFLOW["jobs"].values() for step in job["steps"]]
    return [step for step in steps if step.get("uses", "").startswith(action)]


def test_the_workflow_asks_for_little_and_ends():
    assert WORKFLOW["permissions"] == {"contents": "read"}
    assert WORKFLOW["concurrency"]["cancel-in-progress"] is True
    assert set(WORKFLOW[True]) >= {"push", "pull_request"}  # YAML reads the key `on` as true
    for job in WORKFLOW["jobs"].values():
        assert "permissions" not in job
        assert job["timeout-minutes"] <= 120
        first, second, *others = [step.get("uses") for step in job["steps"]]
        assert first.startswith("actions/checkout@")
        assert second.startswith("actions/setup-python@")
        assert set(others) == {None}
    for step in list_steps("actions/setup-python"):
        assert (ROOT / step["with"]["cache-dependency-path"]).is_file()
        assert step["with"]["cache"] == "pip"
    for step in list_steps("actions/checkout"):
        assert step["with"] == {"persist-credentials": False}
    assert all(re.fullmatch(r"actions/[\w-]+@v\d+", step["uses"]) for step in list_steps("actions/"))


def test_hooks_before_a_commit_run_the_versions_of_the_extra():
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    hooks = {hook["id"]: repo["repo"] for repo in config["repos"] for hook in repo["hooks"]}
    assert {name for name, repo in hooks.items() if repo == "local"} == {
        "ruff",
        "ruff-format",
        "mypy",
        "tables",
        "notebooks",
    }
    local = next(repo["hooks"] for repo in config["repos"] if repo["repo"] == "local")
    lint = " ".join(PROJECT["project"]["optional-dependencies"]["lint"])
    for hook in local:
        program, script = (*hook["entry"].split(), "")[:2]
        assert hook["language"] == "system"
        assert program in lint or (ROOT / script).is_file()
    for repo in config["repos"]:
        assert repo["repo"] == "local" or re.fullmatch(r"v[\d.]+", repo["rev"])


def test_contributing_begins_with_three_commands():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    install, *checks = re.search(r"```bash\n(.*?)```", text, flags=re.DOTALL)[1].splitlines()
    assert [line.partition("#")[0].strip() for line in checks] == ["scripts/check --fast", "scripts/check"]
    extras = re.fullmatch(r"pip install -e '\.\[([\w,]+)\]' +#.*", install)[1].split(",")
    assert {"test", "parity", "lint", "docs"} <= set(extras) <= set(PROJECT["project"]["optional-dependencies"])
    assert text.index("```bash") < 200
