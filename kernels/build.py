"""Compiles every kernel for every architecture, with no GPU and no CUDA installed.

    python kernels/build.py            # packs, and kernels/manifest.json
    python kernels/build.py --check    # only says whether the manifest is that of the sources

The compiler is NVRTC, from PyPI, at the version named below; it goes into `kernels/.toolchain`.
Written are `kernels/pack/<architecture>.pack`, one file each (see `pack`), which `cargo build` puts
into the library, and `kernels/manifest.json`: hashes of the sources, the toolchain, and what the
compiler made of each kernel. `kernels/limits.json` says what it may make of it; the tests compare.
"""

import argparse
import collections
import concurrent.futures
import ctypes
import hashlib
import json
import os
import re
import struct
import subprocess
import sys
import venv
import zlib
from pathlib import Path

HERE = Path(__file__).resolve().parent
SOURCES = HERE / "cuda"
TOOLCHAIN = HERE / ".toolchain"
# CUDA 12.8 is the first that knows sm_100 and sm_120. What it makes runs on every driver of CUDA 12
# and 13; what a compiler of CUDA 13 makes would need a driver of CUDA 13.
PACKAGES = {
    "nvidia-cuda-nvrtc-cu12": "12.8.93",
    "nvidia-cuda-runtime-cu12": "12.8.90",
    "nvidia-cuda-cuobjdump": "13.2.86",
    "nvidia-cuda-nvdisasm": "13.2.86",
}
ARCHITECTURES = ["sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_120", "compute_80"]
# Kernels of files with this ending use what only Hopper has.
HOPPER = "_sm90"
OPTIONS = ["-std=c++17", "--extra-device-vectorization", "-default-device"]
# Instructions worth counting, products of matrices, their loads and copies, and where: disassembling
# takes longer than compiling.
INSTRUCTIONS = ["HMMA", "IMMA", "QMMA", "HGMMA", "IGMMA", "LDSM", "LDGSTS", "UTMALDG"]
DISASSEMBLED = ["sm_80", "sm_90a"]


def install():
    """The toolchain's packages, at their exact versions, without what they would pull in."""
    stamp = TOOLCHAIN / "installed"
    wanted = " ".join(f"{name}=={version}" for name, version in PACKAGES.items())
    if not stamp.exists() or stamp.read_text() != wanted:
        venv.create(TOOLCHAIN, with_pip=True)
        python = TOOLCHAIN / "bin" / "python"
        subprocess.run([python, "-m", "pip", "install", "-q", "--no-deps", *wanted.split()], check=True)
        stamp.write_text(wanted)


def find(pattern):
    found = sorted(TOOLCHAIN.glob(f"lib/python3*/site-packages/nvidia/{pattern}"))
    if not found:
        sys.exit(f"{TOOLCHAIN} has no {pattern}: remove the folder and try again")
    return found[0]


def units():
    """(source, architecture) of all images."""
    for source in sorted(SOURCES.glob("*.cu")):
        targets = ["sm_90a"] if source.stem.endswith(HOPPER) else ARCHITECTURES
        for target in targets:
            yield source, target


def hashes():
    files = sorted(SOURCES.glob("*.cu*"))
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def digest(of_files):
    """One hash of all sources: what packs are stamped with."""
    text = "".join(f"{name} {value}\n" for name, value in sorted(of_files.items()))
    return hashlib.sha256(text.encode()).hexdigest()


def with_headers(source):
    """A source's text and that of every header of ours that it includes."""
    text, names = source.read_text(), []
    for name in re.findall(r'#include "([\w.]+)"', text):
        if (SOURCES / name).exists():
            names += with_headers(SOURCES / name)
    return [text, *names]


def compile_unit(source, target):
    """An image, and what the compiler said. Kept in the toolchain's folder by what went into it."""
    text, *headers = with_headers(source)
    key = hashlib.sha256("\0".join([*PACKAGES.values(), *OPTIONS, target, text, *headers]).encode())
    kept = TOOLCHAIN / "cache" / f"{source.stem}.{target}.{key.hexdigest()[:16]}"
    log = kept.with_suffix(kept.suffix + ".log")
    if kept.exists() and log.exists():
        return kept
    nvrtc = ctypes.CDLL(str(find("cuda_nvrtc/lib/libnvrtc.so.12")))
    program = ctypes.c_void_p()
    nvrtc.nvrtcCreateProgram(ctypes.byref(program), text.encode(), source.name.encode(), 0, None, None)
    options = [f"--gpu-architecture={target}", f"-I{SOURCES}", f"-I{find('cuda_runtime/include')}", *OPTIONS]
    if target.startswith("sm_"):
        options.append("--ptxas-options=-v")
    array = (ctypes.c_char_p * len(options))(*[option.encode() for option in options])
    result = nvrtc.nvrtcCompileProgram(program, len(options), array)
    size = ctypes.c_size_t()
    nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    said = ctypes.create_string_buffer(size.value)
    nvrtc.nvrtcGetProgramLog(program, said)
    if result:
        raise RuntimeError(f"{source.name} for {target}:\n{said.value.decode()}")
    form = "CUBIN" if target.startswith("sm_") else "PTX"
    getattr(nvrtc, f"nvrtcGet{form}Size")(program, ctypes.byref(size))
    image = ctypes.create_string_buffer(size.value)
    getattr(nvrtc, f"nvrtcGet{form}")(program, image)
    nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
    kept.parent.mkdir(exist_ok=True)
    log.write_bytes(said.value)
    kept.write_bytes(image.raw)
    return kept


def resources(log):
    """Registers, stack, and bytes spilled of each kernel, as the compiler tells them."""
    made = {}
    for name, said in re.findall(r"Compiling entry function '(\w+)' for .*\n((?:(?!.*Compiling entry).*\n?)*)", log):
        spilled = re.search(r"(\d+) bytes spill stores, (\d+) bytes spill loads", said)
        made[name] = {
            "registers": int(re.search(r"Used (\d+) registers", said)[1]),
            "stack": int(re.search(r"(\d+) bytes stack frame", said)[1]),
            "spills": int(spilled[1]) + int(spilled[2]),
        }
    return made


def instructions(image):
    """How often each kernel of a cubin has each of INSTRUCTIONS; kept beside the cubin."""
    known = Path(f"{image}.json")
    if known.exists():
        return json.loads(known.read_text())
    tool = find("cu13/bin/cuobjdump")
    environment = {**os.environ, "PATH": f"{tool.parent}:{os.environ['PATH']}"}
    found = subprocess.run([tool, "--dump-sass", image], env=environment, capture_output=True, text=True, check=True)
    word = re.compile(r"\b(" + "|".join(INSTRUCTIONS) + r")\b")
    made = {}
    for part in found.stdout.split("Function : ")[1:]:
        name, _, body = part.partition("\n")
        made[name.strip()] = dict(collections.Counter(word.findall(body)))
    known.write_text(json.dumps(made))
    return made


def warnings(log):
    """What the compiler should not have to say: serialised matrix products, injected waits."""
    return sorted(set(re.findall(r"C75\d\d", log)))


def pack(path, stamp, images):
    """`OCPACK1\\n`, the sources' hash (64 letters), and a zlib stream of: the number of images
    (u32), for each the length of its name and of its bytes (u32 each); then names and bytes, one
    image after the other. Little-endian."""
    table = struct.pack("<I", len(images))
    body = b""
    for name, image in sorted(images.items()):
        table += struct.pack("<II", len(name), len(image))
        body += name.encode() + image
    path.write_bytes(b"OCPACK1\n" + stamp.encode() + zlib.compress(table + body, 9))


def build():
    install()
    sources = hashes()
    stamp = digest(sources)
    jobs = list(units())
    with concurrent.futures.ProcessPoolExecutor() as pool:
        kept = list(pool.map(compile_unit, *zip(*jobs)))
        cubins = [path for path, (_, target) in zip(kept, jobs) if target in DISASSEMBLED]
        counts = dict(zip(cubins, pool.map(instructions, map(str, cubins))))
    packs, kernels = {}, {}
    for path, (source, target) in zip(kept, jobs):
        packs.setdefault(target, {})[source.stem] = path.read_bytes()
        said = path.with_suffix(path.suffix + ".log").read_text(errors="replace")
        for name, report in resources(said).items():
            if path in counts:
                report["instructions"] = dict(sorted(counts[path][name].items()))
            entry = kernels.setdefault(name, {"file": source.stem, "architectures": {}})
            if warnings(said):
                report["warnings"] = warnings(said)
            entry["architectures"][target] = report
    folder = HERE / "pack"
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.pack"):
        old.unlink()
    for target, images in packs.items():
        pack(folder / f"{target}.pack", stamp, images)
    manifest = {"toolchain": PACKAGES, "sources": sources, "kernels": dict(sorted(kernels.items()))}
    (HERE / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")
    size = sum(file.stat().st_size for file in folder.glob("*.pack"))
    print(f"{len(kernels)} kernels, {len(jobs)} images, {len(packs)} packs of {size / 1e6:.1f} MB in {folder}")


def check():
    """Whether the manifest's hashes are those of the sources."""
    known = json.loads((HERE / "manifest.json").read_text())["sources"]
    stale = sorted(name for name in {**known, **hashes()} if known.get(name) != hashes().get(name))
    if stale:
        sys.exit(f"kernels/manifest.json is of other sources than {', '.join(stale)}: run `make kernels`")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true", help="only compare the manifest with the sources")
    check() if parser.parse_args().check else build()
