"""VideoModel: parameters, preprocessing and one compiled function per shape.

    model = load_model("moving-objects", schedule="100,40")
    clip = read_clip("dive.mp4", model.preprocessing)
    logits = model.classify(clip[None])

A clip is `[T, Y, X, C]` float32, normalised (about -2 to 2), or uint8 pixels, which are normalised on the device; the
logits are `[B, num_classes]`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from jax.sharding import Mesh
from jaxtyping import Array, Float, Shaped

from vidtldr_jax import ops
from vidtldr_jax.data.preprocessing import Preprocessing
from vidtldr_jax.inference.checkpoint import check_params, flatten_params
from vidtldr_jax.inference.empty import is_empty, make_empty
from vidtldr_jax.inference.encoder_program import EncoderProgram, compile_encoder
from vidtldr_jax.inference.pixels import check_video
from vidtldr_jax.inference.sharding import check_mesh, count_model_devices, place_batch, place_params, take_local
from vidtldr_jax.models.architectures import Config, make_module
from vidtldr_jax.models.encoder import Tracing
from vidtldr_jax.models.stacking import stack_blocks, unstack_blocks
from vidtldr_jax.models.video_vit import VideoOutput
from vidtldr_jax.reduction.fitting import fit_schedule
from vidtldr_jax.reduction.methods import DEFAULT_METHOD, Method
from vidtldr_jax.reduction.schedule import ResolvedSchedule, Schedule


@dataclasses.dataclass(frozen=True, init=False, repr=False, eq=False)
class VideoModel:
    """A video transformer ready to call. It is immutable, and a pytree whose leaves are its weights.

    So a model can be an argument or a result of a transformed function: `jax.jit(lambda model, video:
    model(video).logits)`, `jax.grad` of a loss over a model, `jax.tree.map` over its weights.

    Attributes:
      weights: the parameters as `module` takes them: nested, the blocks stacked where `is_stacked`.
      config: the architecture.
      preprocessing: how clips are sampled, resized and normalised for it.
      labels: names of the classes, or None.
      tokenizer: content of the tokenizer.json of its texts, or None.
      schedule: the resolved schedule: tokens that every layer loses, clamps and the method included.
      source: what the weights were made from.
      dtype: computation dtype.
      attention: how attention is computed, see `ops.attend`.
      merging: how absorbed tokens are summed, see `ops.merge_tokens`.
      is_stacked: whether the parameters of all blocks lie along one axis, see `models.stacking`.
      mesh: the devices that it is spread over, or None for one.
    """

    weights: dict[str, Any]
    config: Config
    preprocessing: Preprocessing
    labels: list[str] | None
    tokenizer: str | None
    schedule: ResolvedSchedule
    source: Mapping[str, Any]
    dtype: jnp.dtype
    attention: ops.AttentionForm
    merging: ops.MergeForm
    is_stacked: bool
    mesh: Mesh | None

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        register_model(cls)

    def __init__(
        self,
        params: Mapping[str, Any],
        config: Config,
        *,
        preprocessing: Preprocessing,
        labels: Sequence[str] | None = None,
        tokenizer: str | None = None,
        schedule: Schedule = None,
        method: str | Method | None = None,
        source: Mapping[str, Any] | None = None,
        dtype: Any = jnp.float32,
        attention: ops.AttentionForm = "auto",
        merging: ops.MergeForm = "auto",
        scan_layers: bool | None = None,
        mesh: Mesh | None = None,
    ) -> None:
        """Takes parameters (flat or nested) and puts them on the device.

        Args:
          params: the parameters.
          config: the architecture.
          preprocessing: how clips are made for it.
          labels: names of the classes.
          tokenizer: content of the tokenizer.json of its texts.
          schedule: anything `parse_schedule` reads; None is the plain model.
          method: how tokens are chosen: a name in `reduction.METHODS`, or a `Method` of your own; None is the one that
            the schedule was resolved for before, or vid-TLDR.
          source: what the weights were made from.
          dtype: computation dtype; parameters are kept in it too.
          attention: one of the forms of `ops.attend`.
          merging: one of the forms of `ops.merge_tokens`.
          scan_layers: keep the parameters of all blocks stacked and run the blocks after the last reduction under one
            scan, which compiles faster; None does so unless JAX's default backend is a CPU.
          mesh: devices to spread the model over, see `make_mesh`; None is the default device.

        Raises:
          ValueError: the schedule, the method or the mesh does not fit the model.
        """
        resolved = fit_schedule(config, schedule, method=method)
        dtype = jnp.dtype(dtype)
        is_stacked = jax.default_backend() != "cpu" if scan_layers is None else scan_layers
        if mesh is not None:
            check_mesh(mesh, num_heads=config.num_heads)
            # The compiler can't split a kernel's or a loop's heads over devices.
            is_split = count_model_devices(mesh) > 1
            attention = "blocked" if is_split and attention == "auto" else attention
        flat = flatten_params(params)
        flat = stack_blocks(flat) if is_stacked else unstack_blocks(flat)
        if mesh is None:
            flat = {path: jnp.asarray(value, dtype) for path, value in flat.items()}
        else:
            flat = place_params(flat, mesh, dtype=dtype)
        _fill(
            self,
            weights=traverse_util.unflatten_dict(flat, sep="/"),
            config=config,
            preprocessing=preprocessing,
            labels=None if labels is None else list(labels),
            tokenizer=tokenizer,
            schedule=resolved,
            source=dict(source or {}),
            dtype=dtype,
            attention=attention,
            merging=merging,
            is_stacked=is_stacked,
            mesh=mesh,
        )

    def __repr__(self) -> str:
        num_params = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(self.weights) if hasattr(leaf, "shape"))
        return (
            f"{type(self).__name__}({self.config.architecture}, {num_params:,} parameters, {self.dtype}, "
            f"{self.schedule.describe()})"
        )

    def __call__(self, video: Shaped[Array, "B T Y X C"] | np.ndarray, *, trace: Tracing = False) -> VideoOutput:
        """Encode a batch of clips, as `encode_video` does."""
        return self.encode_video(video, trace=trace)

    @property
    def params(self) -> dict[str, Any]:
        """The parameters, nested, every block under its own name; copies where the model keeps its blocks stacked."""
        return traverse_util.unflatten_dict(unstack_blocks(flatten_params(self.weights)), sep="/")

    @property
    def module(self) -> Any:
        """The Flax module of the model and its schedule, for clips of the config's size; it takes `variables`."""
        return make_module(
            self.config,
            r=self.schedule.r,
            method=self.schedule.method,
            form=self.attention,
            merging=self.merging,
            dtype=self.dtype,
            param_dtype=self.dtype,
            is_stacked=self.is_stacked,
        )

    @property
    def variables(self) -> dict[str, Any]:
        """The variables of `module`: `model.module.apply(model.variables, video)`, under any transformation."""
        return {"params": self.weights}

    def with_schedule(self, schedule: Schedule, *, method: str | Method | None = None) -> Self:
        """Return the same model under another schedule; parameters are shared, not copied.

        Args:
          schedule: anything `parse_schedule` reads; None is the plain model.
          method: how tokens are chosen; None leaves this model's method, or that of a resolved schedule.

        Returns:
          Another model of the same class.

        Raises:
          ValueError: the schedule or the method does not fit the model.
        """
        if method is None:
            method = schedule.method if isinstance(schedule, ResolvedSchedule) else self.schedule.method
        return self._replace(schedule=fit_schedule(self.config, schedule, method=method))

    def with_one_view(self) -> Self:
        """Return the same model for one clip and one crop of a video; parameters are shared, not copied."""
        return self.with_preprocessing(self.preprocessing.take_one_view())

    def with_preprocessing(self, preprocessing: Preprocessing) -> Self:
        """Return the same model with clips that are made in another way; parameters are shared, not copied.

        Args:
          preprocessing: how clips are sampled, resized and normalised.
        """
        return self._replace(preprocessing=preprocessing)

    def with_params(self, params: Mapping[str, Any]) -> Self:
        """Return the same model with other parameters, such as those of a training loop; nothing is compiled again.

        Args:
          params: flat or nested, as `params` gives them.

        Raises:
          ValueError: they are not those of the architecture.
        """
        flat = {path: jnp.asarray(value, self.dtype) for path, value in flatten_params(params).items()}
        check_params(flat, self.config)
        flat = stack_blocks(flat) if self.is_stacked else unstack_blocks(flat)
        placed = flat if self.mesh is None else place_params(flat, self.mesh, dtype=self.dtype)
        return self._replace(weights=traverse_util.unflatten_dict(placed, sep="/"))

    def with_local_mesh(self) -> Self:
        """Return the same model on this process's devices of its mesh; parameters are shared, not copied.

        It runs without the other processes, which then have to do nothing at the same time. A model whose devices all
        belong to this process is returned as it is.
        """
        if self.mesh is None or not self.mesh.is_multi_process:
            return self
        weights, mesh = take_local(self.weights, self.mesh)
        return self._replace(weights=weights, mesh=mesh)

    def _replace(self, **fields: Any) -> Self:
        return _fill(object.__new__(type(self)), **{name: getattr(self, name) for name in _FIELDS} | fields)

    def encode_video(self, video: Shaped[Array, "B T Y X C"] | np.ndarray, *, trace: Tracing = False) -> VideoOutput:
        """Encodes a batch of clips; compiled once per shape and dtype.

        Args:
          video: `[B, T, Y, X, C]` float, normalised, as `read_clip` returns it with a batch axis in front; or uint8
            pixels, as `read_frames` returns them, which the compiled function normalises with `preprocessing`. A batch
            of nothing gives a result of nothing, in the right shapes.
            Over a mesh of several processes it is this process's share: every process calls this as often, with as many
            clips, and `fetch_share` returns its rows.
          trace: also return where every original token went; "every_layer" also what the method makes of the tokens in
            layers where nothing is merged (another program, equal up to rounding).

        Returns:
          A `VideoOutput`.

        Raises:
          ValueError: the video is no array of floats or uint8, its shape does not fit the model or its devices, or the
            schedule does not fit the video's token count.
        """
        check_video(video)
        function = self.get_encode_function(video.shape, trace=trace)
        if is_empty(video):
            function = self._get_encoder(video.shape, trace=trace, mesh=None)
            return make_empty(function, self.weights, video)
        return function(self.weights, self.place_video(video))

    def place_video(self, video: Shaped[Array, "B T Y X C"] | np.ndarray) -> Shaped[Array, "B T Y X C"]:
        """Puts a batch of clips where the model runs, without waiting for it; over a mesh it is split along "data".

        Args:
          video: `[B, T, Y, X, C]`.

        Returns:
          The batch on the device or devices.

        Raises:
          ValueError: the batch is no multiple of the devices.
        """
        return jnp.asarray(video) if self.mesh is None else place_batch(video, self.mesh)

    def classify(self, video: Shaped[Array, "B T Y X C"] | np.ndarray) -> Float[Array, "B num_classes"]:
        """Returns the logits of a batch of clips.

        Args:
          video: as for `encode_video`.

        Returns:
          Float32 logits, in the order of `labels`.

        Raises:
          ValueError: the model has no classifier, or the video does not fit.
        """
        if self.config.num_classes is None:
            raise ValueError("a model with num_classes is needed; this one has no classifier; use encode_video.")
        logits = self.encode_video(video).logits
        if logits is None:
            raise RuntimeError("the model returned no logits.")
        return logits

    def schedule_for(self, shape: tuple[int, ...]) -> ResolvedSchedule:
        """Resolves the schedule for clips of a given shape.

        Args:
          shape: of the video, `[B, T, Y, X, C]`.

        Returns:
          The schedule that runs; `self.schedule` for clips of the config's size.
        """
        config = self.config
        size = shape[1:4]
        if size == (config.num_frames, config.image_size, config.image_size):
            return self.schedule
        return fit_schedule(config, self.schedule, size=size)

    def get_encode_function(self, shape: tuple[int, ...], *, trace: Tracing = False) -> Any:
        """Returns the jitted function of (weights, video) that runs for clips of a shape.

        Args:
          shape: of the video, `[B, T, Y, X, C]`.
          trace: also return where every original token went.

        Returns:
          A jitted function, whose video is floats or uint8 pixels; it has `lower`, for ahead-of-time compilation.

        Raises:
          ValueError: the shape has not five axes, or one behind the batch is 0.
        """
        if len(shape) != 5:
            raise ValueError(
                f"a video is [B, T, Y, X, C]; got shape {tuple(shape)}; put a batch axis in front: clip[None]."
            )
        if 0 in shape[1:]:
            raise ValueError(
                f"a clip has at least one frame, row, column and colour; got shape {tuple(shape)}; pass whole clips."
            )
        return self._get_encoder(shape, trace=trace, mesh=self.mesh)

    def _get_encoder(self, shape: tuple[int, ...], *, trace: Tracing, mesh: Mesh | None) -> Any:
        runs = self.schedule_for(shape)
        method = DEFAULT_METHOD if runs.is_plain else runs.method  # plain models share what is compiled
        return compile_encoder(
            EncoderProgram(
                config=self.config,
                r=runs.r,
                method=method,
                attention=self.attention,
                merging=self.merging,
                dtype=self.dtype,
                trace=trace,
                is_stacked=self.is_stacked,
                mesh=mesh,
                mean=self.preprocessing.mean,
                std=self.preprocessing.std,
            )
        )


class _Static(NamedTuple):
    """What of a model is no array, as a pytree's structure has to be: comparable and hashable."""

    values: tuple[Any, ...]

    def __hash__(self) -> int:
        return hash(tuple(value for name, value in zip(_FIELDS[1:], self.values) if name not in _PLAIN))


_PLAIN: Final = ("labels", "source")  # lists and dicts, which are compared and have no hash
_FIELDS: Final = tuple(field.name for field in dataclasses.fields(VideoModel))


def _fill(model: Any, **fields: Any) -> Any:
    """Give a frozen model its fields."""
    for name, value in fields.items():
        object.__setattr__(model, name, value)
    return model


def register_model(model_class: type[VideoModel]) -> None:
    """Make a class of models a pytree: its weights are the leaves, all else is its structure."""

    def flatten(model: VideoModel) -> tuple[tuple[tuple[Any, Any]], _Static]:
        static = _Static(tuple(getattr(model, name) for name in _FIELDS[1:]))
        return ((jax.tree_util.GetAttrKey("weights"), model.weights),), static

    def unflatten(static: _Static, children: Iterable[Any]) -> VideoModel:
        return _fill(object.__new__(model_class), **dict(zip(_FIELDS, (*children, *static.values))))

    jax.tree_util.register_pytree_with_keys(model_class, flatten, unflatten)


register_model(VideoModel)
