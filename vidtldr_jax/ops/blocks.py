"""Rows cut into blocks of about one size."""

from __future__ import annotations


def balance_blocks(num_tokens: int, block_size: int) -> tuple[int, int]:
    """Returns how many blocks of at most `block_size` rows there are, and the rows of each when they are balanced."""
    num_blocks = -(-num_tokens // block_size)
    return num_blocks, -(-num_tokens // num_blocks)
