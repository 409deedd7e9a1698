"""How to cite a report: BibTeX of the project and of the papers that its measures are from."""

from collections.abc import Iterator, Mapping
from typing import Any

PROJECT = """@software{{ddpm-service,
  title   = {{ddpm-service: train, measure and serve denoising diffusion probabilistic models}},
  author  = {{{{The ddpm-service contributors}}}},
  version = {{{version}}},
  year    = {{{year}}}
}}"""
DDPM = """@inproceedings{ho2020denoising,
  title     = {Denoising Diffusion Probabilistic Models},
  author    = {Ho, Jonathan and Jain, Ajay and Abbeel, Pieter},
  booktitle = {Advances in Neural Information Processing Systems},
  volume    = {33},
  year      = {2020}
}"""
FRECHET = """@inproceedings{heusel2017gans,
  title     = {{GANs} Trained by a Two Time-Scale Update Rule Converge to a Local
               {Nash} Equilibrium},
  author    = {Heusel, Martin and Ramsauer, Hubert and Unterthiner, Thomas and Nessler, Bernhard
               and Hochreiter, Sepp},
  booktitle = {Advances in Neural Information Processing Systems},
  volume    = {30},
  year      = {2017}
}"""
INFINITY = """@inproceedings{chong2020effectively,
  title     = {Effectively Unbiased {FID} and {Inception Score} and Where to Find Them},
  author    = {Chong, Min Jin and Forsyth, David},
  booktitle = {IEEE/CVF Conference on Computer Vision and Pattern Recognition},
  year      = {2020}
}"""
PRECISION_RECALL = """@inproceedings{kynkaanniemi2019improved,
  title     = {Improved Precision and Recall Metric for Assessing Generative Models},
  author    = {Kynk{\\"a}{\\"a}nniemi, Tuomas and Karras, Tero and Laine, Samuli
               and Lehtinen, Jaakko and Aila, Timo},
  booktitle = {Advances in Neural Information Processing Systems},
  volume    = {32},
  year      = {2019}
}"""
INCEPTION = """@inproceedings{szegedy2016rethinking,
  title     = {Rethinking the {Inception} Architecture for Computer Vision},
  author    = {Szegedy, Christian and Vanhoucke, Vincent and Ioffe, Sergey and Shlens, Jon
               and Wojna, Zbigniew},
  booktitle = {IEEE Conference on Computer Vision and Pattern Recognition},
  year      = {2016}
}"""
EFFICIENTNET = """@inproceedings{tan2019efficientnet,
  title     = {{EfficientNet}: Rethinking Model Scaling for Convolutional Neural Networks},
  author    = {Tan, Mingxing and Le, Quoc V.},
  booktitle = {International Conference on Machine Learning},
  year      = {2019}
}"""
UNTRAINED = """@inproceedings{naeem2020reliable,
  title     = {Reliable Fidelity and Diversity Metrics for Generative Models},
  author    = {Naeem, Muhammad Ferjad and Oh, Seong Joon and Uh, Youngjung and Choi, Yunjey
               and Yoo, Jaejun},
  booktitle = {International Conference on Machine Learning},
  year      = {2020}
}"""


def bibtex(report: Mapping[str, Any]) -> str:
    """Write BibTeX of the project, and of the papers of the measures in the report."""
    return "\n\n".join(_entries(report)) + "\n"


def _entries(report: Mapping[str, Any]) -> Iterator[str]:
    year = str(report["date"])[:4]
    yield PROJECT.format(version=report["version"], year=year)
    yield from (DDPM, FRECHET, INFINITY, PRECISION_RECALL)
    if report["features"].startswith("Inception"):
        yield INCEPTION
    if report["features"].startswith("EfficientNet"):
        yield EFFICIENTNET
    if report["features"].startswith("an untrained network"):
        yield UNTRAINED
