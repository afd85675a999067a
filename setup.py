"""The package: what it needs to run, and what its tests need on top."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(r'^__version__ = "(.+)"$', (HERE / "cvrl" / "__init__.py").read_text(), re.M)
REMOTE = ["fsspec>=2024.6", "s3fs>=2024.6", "aiohttp>=3.9"]
EXPORT = ["onnx>=1.19", "onnxruntime>=1.22", "onnxscript>=0.5"]
HUB = ["huggingface_hub>=0.30"]
SEARCH = ["faiss-cpu>=1.9"]

setup(
    name="cvrl",
    version=VERSION[1] if VERSION else "0",
    description="Self-supervised learning from video with 3D ResNets",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    packages=[*find_packages(include=["cvrl", "cvrl.*"]), "cvrl.configs"],
    package_dir={"cvrl.configs": "configs"},  # see cvrl/config_files.py
    package_data={
        "cvrl": ["py.typed", "weights/*.safetensors"],
        "cvrl.configs": ["*/*.yaml"],
        "cvrl.report": ["templates/*"],
    },
    entry_points={"console_scripts": ["cvrl=cvrl.cli:run"]},
    python_requires=">=3.10",
    install_requires=[
        "torch>=2.4",
        "torchvision>=0.19",
        "pytorchvideo>=0.1.5",
        "decord2>=3.2",  # imports as `decord`; never beside the package `decord`, which it replaces
        "av>=17",
        "fvcore>=0.1.5",
        "einops>=0.8",
        "accelerate>=1.0",
        "timm>=1.0.12",
        "omegaconf>=2.4",
        "PyYAML>=6.0",
        "numba>=0.61",  # compiles what augmentation does to a pixel
        "numpy>=1.26",
        "opencv-python-headless>=4.8",  # optical flow of the hand-made baseline
        "scikit-learn>=1.4",
        "psutil>=5.9",
        "pyarrow>=15",
        "safetensors>=0.4.3",
        "pillow>=10.1",
        "matplotlib>=3.8",
        "Jinja2>=3.1",  # the page of a run
        "rich>=13.7",
        "tensorboard>=2.16",
    ],
    extras_require={
        # what benchmarks compare with
        "bench": ["kornia>=0.8", "lightly>=1.5", "torchcodec>=0.7"],
        # ONNX files, see cvrl/export/onnx_file.py
        "export": EXPORT,
        # s3:// and http://, see cvrl/utils/remote.py; gs:// needs gcsfs
        "remote": REMOTE,
        # encoders of other libraries, see cvrl/models/hf.py
        "hf": ["transformers>=5.24"],
        # models of the Hugging Face Hub, see cvrl/utils/hub.py
        "hub": HUB,
        # an index of features and `cvrl search`, see cvrl/evaluation/features/faiss_index.py
        "search": SEARCH,
        # the site: `make docs`
        "docs": ["mkdocs-material>=9.5", "mkdocstrings-python>=1.10"],
        "test": [
            *EXPORT,
            *HUB,
            *SEARCH,
            *REMOTE,
            "hypothesis>=6.100",
            "ipykernel>=6.29",  # runs docs/tour.ipynb
            "mkdocs-material>=9.5",
            "mkdocstrings-python>=1.10",
            "moto[server]>=5",  # an object store on loopback
            "mypy~=2.4.0",
            "nbclient>=0.10",
            "pytest>=8.2",
            "pytest-timeout>=2.3",
            "pytest-xdist>=3.6",
            "ruff~=0.17.6",
            "transformers>=5.24",
            "types-PyYAML>=6.0",
            "types-psutil>=5.9",
            "vermin>=1.6",  # which Python a file needs
        ],
    },
    classifiers=[
        "Programming Language :: Python :: 3 :: Only",
        *(f"Programming Language :: Python :: 3.{minor}" for minor in range(10, 14)),
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
)
