"""Policy: how many tokens go in which layer, and what that costs."""

from vidtldr_jax.reduction.cost import EncoderCost, LayerCost, count_macs
from vidtldr_jax.reduction.elementwise import count_xla_gmacs
from vidtldr_jax.reduction.merging_attention import MergingAttention
from vidtldr_jax.reduction.methods import METHODS, Choice, Evidence, Method, get_method
from vidtldr_jax.reduction.planner import Plan, Proposal, plan_schedule
from vidtldr_jax.reduction.schedule import (
    ResolvedSchedule,
    Schedule,
    format_schedule,
    parse_schedule,
    resolve_r,
    resolve_schedule,
)
from vidtldr_jax.reduction.step import reduce_tokens

__all__ = [
    "METHODS",
    "Choice",
    "EncoderCost",
    "Evidence",
    "LayerCost",
    "MergingAttention",
    "Method",
    "Plan",
    "Proposal",
    "ResolvedSchedule",
    "Schedule",
    "count_macs",
    "count_xla_gmacs",
    "format_schedule",
    "get_method",
    "parse_schedule",
    "plan_schedule",
    "reduce_tokens",
    "resolve_r",
    "resolve_schedule",
]
