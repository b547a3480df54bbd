"""One seed for every generator that training draws from."""

import torch

_LARGEST = 2**63


def seed_everything(seed: int) -> None:
    """Seeds torch's global generators, the CPU's and every accelerator's. Order of data has generators of its own."""
    torch.random.manual_seed(seed % _LARGEST)
