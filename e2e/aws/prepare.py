"""Makes the stand-in's virtual environment in the cache, once per set of packages, and prints its Python.

Runs with the system's Python (3.10 or newer) and needs the package index only the first time.
"""
import fcntl
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys

REQUIREMENTS = pathlib.Path(__file__).with_name("requirements.txt")


def cache_dir() -> pathlib.Path:
    """`$TRAY_CACHE`, else `$XDG_CACHE_HOME/tray-operator`, else `~/.cache/tray-operator`."""
    if os.environ.get("TRAY_CACHE"):
        return pathlib.Path(os.environ["TRAY_CACHE"])
    base = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(base) / "tray-operator"


def make(environment: pathlib.Path) -> None:
    """A fresh environment at `environment`; only a complete one gets its marker file."""
    shutil.rmtree(environment, ignore_errors=True)
    steps = [
        [sys.executable, "-m", "venv", str(environment)],
        [str(environment / "bin/pip"), "install", "--quiet", "--disable-pip-version-check",
         "--require-hashes", "--requirement", str(REQUIREMENTS)],
    ]
    for step in steps:
        done = subprocess.run(step, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise SystemExit(f"cannot prepare the AWS stand-in: `{' '.join(step)}` failed:\n{done.stdout}{done.stderr}"
                             "It needs Python 3.10 or newer with venv (Debian: python3-venv) and, the first time, "
                             "the Python package index.")
    (environment / "complete").touch()


def main() -> None:
    """Prints the path of the environment's Python."""
    packages = REQUIREMENTS.read_bytes() + sys.version.encode()
    root = cache_dir()
    root.mkdir(parents=True, exist_ok=True)
    environment = root / f"aws-standin-{hashlib.sha256(packages).hexdigest()[:16]}"
    with open(f"{environment}.lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # test binaries start at the same time
        if not (environment / "complete").exists():
            make(environment)
    print(environment / "bin/python")


if __name__ == "__main__":
    main()
