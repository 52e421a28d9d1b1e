"""An ordinary transformer encoder, and the same network for many seeds at once on compressed prompts.

:class:`OrdinaryTransformer` is ``torch.nn.TransformerEncoder`` as it comes, fed with one token for each
transition. :func:`stacked_values` is the same function on the *distinct* tokens, whose counts enter the
softmax as an additive logarithm, for a whole stack of seeds. A test holds the two together.
See :doc:`/book/standard-transformer`.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Generator, Tensor, nn

from icrl import _validation as valid
from icrl._arguments import checked


@checked
@dataclass(frozen=True, kw_only=True)
class Architecture:
    """Shape of the network.

    Attributes:
        num_names: ``d``, length of the vector that names a state.
        num_layers: ``L``.
        width: of the residual stream.
        num_heads: in each layer; divides the width.
        hidden: units of each MLP.
        output_scale: fixed factor behind the readout.

    Raises:
        ValueError: a value out of range; the field is named.
    """

    num_names: int = 5
    num_layers: int = 3
    width: int = 32
    num_heads: int = 4
    hidden: int = 64
    output_scale: float = 1.0

    def __post_init__(self):
        for name in ("num_names", "num_layers", "width", "num_heads", "hidden"):
            valid.count(name, getattr(self, name), 1)
        if self.width % self.num_heads:
            raise ValueError(f"width is {self.width}; it must be a multiple of num_heads, {self.num_heads}")
        valid.positive("output_scale", self.output_scale)

    @property
    def token_size(self) -> int:
        """``2d + 2``: name of the state, name of its successor, reward, and a mark for queries."""
        return 2 * self.num_names + 2

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of every parameter, as :class:`OrdinaryTransformer` has them, in a fixed order."""
        w, h = self.width, self.hidden
        result = {"embed.weight": (w, self.token_size), "embed.bias": (w,)}
        for i in range(self.num_layers):
            layer = {
                "self_attn.in_proj_weight": (3 * w, w),
                "self_attn.in_proj_bias": (3 * w,),
                "self_attn.out_proj.weight": (w, w),
                "self_attn.out_proj.bias": (w,),
                "linear1.weight": (h, w),
                "linear1.bias": (h,),
                "linear2.weight": (w, h),
                "linear2.bias": (w,),
                "norm1.weight": (w,),
                "norm1.bias": (w,),
                "norm2.weight": (w,),
                "norm2.bias": (w,),
            }
            result |= {f"encoder.layers.{i}.{name}": shape for name, shape in layer.items()}
        result |= {"encoder.norm.weight": (w,), "encoder.norm.bias": (w,)}
        return result | {"readout.weight": (1, w), "readout.bias": (1,)}

    @property
    def num_parameters(self) -> int:
        """Of one seed."""
        return sum(math.prod(shape) for shape in self.shapes().values())


@checked
class OrdinaryTransformer(nn.Module):
    """Embedding, ``torch.nn.TransformerEncoder`` (pre-norm, ReLU, no dropout, no positions), readout.

    Nothing in it knows of values: no sparse weights, no memory rows. The only mask is that of
    Xie et al. (2026), eq. (1): the queries come last, and no token listens to a query, itself included.
    """

    def __init__(self, architecture: Architecture):
        super().__init__()
        a = self.architecture = architecture
        layer = nn.TransformerEncoderLayer(
            a.width, a.num_heads, a.hidden, dropout=0.0, batch_first=True, norm_first=True
        )
        self.embed = nn.Linear(a.token_size, a.width)
        self.encoder = nn.TransformerEncoder(
            layer, a.num_layers, norm=nn.LayerNorm(a.width), enable_nested_tensor=False
        )
        self.readout = nn.Linear(a.width, 1)

    def forward(
        self, tokens: Float[Tensor, "*b n t"], queries: Float[Tensor, "*b S t"]
    ) -> Float[Tensor, "*b S"]:
        """The value that each query is told.

        Args:
            tokens: ``(*b, n, 2d + 2)``, one for each transition of the context.
            queries: ``(*b, S, 2d + 2)``.
        """
        sources, total = tokens.shape[-2], tokens.shape[-2] + queries.shape[-2]
        x = torch.cat([tokens, queries], -2)
        hidden = torch.zeros(total, total, dtype=torch.bool, device=x.device)
        hidden[:, sources:] = True
        out = self.encoder(self.embed(x.flatten(0, -3) if x.ndim > 3 else x), mask=hidden)
        out = self.readout(out[..., sources:, :])[..., 0] * self.architecture.output_scale
        return out.reshape(queries.shape[:-1])


@checked
def initial_parameters(
    architecture: Architecture, num_seeds: int, generator: Generator, dtype: torch.dtype = torch.float32
) -> Float[Tensor, "E P"]:
    """Fresh parameters of every seed, one row each, from the distributions that ``torch.nn`` uses.

    Unlike ``nn.TransformerEncoder``, which starts all layers as copies of one, each layer has its own draw.
    """
    valid.count("num_seeds", num_seeds, 1)
    pieces = []
    for name, shape in architecture.shapes().items():
        size, kind = math.prod(shape), name.split(".")[-2:]
        if kind[0].startswith("norm"):
            fill = 1.0 if kind[1] == "weight" else 0.0
            pieces.append(torch.full((num_seeds, size), fill, device=generator.device, dtype=dtype))
            continue
        if "bias" in name and "self_attn" in name:
            pieces.append(torch.zeros(num_seeds, size, device=generator.device, dtype=dtype))
            continue
        # Linear layers are uniform in +-1/sqrt(inputs); the joint projection of attention is Xavier's.
        inputs = {
            "embed": architecture.token_size,
            "linear2": architecture.hidden,
        }.get(kind[0], architecture.width)
        bound = math.sqrt(6 / sum(shape)) if kind[1] == "in_proj_weight" else 1 / math.sqrt(inputs)
        uniform = torch.rand(
            num_seeds, size, generator=generator, device=generator.device, dtype=torch.float64
        )
        pieces.append(((2 * uniform - 1) * bound).to(dtype))
    return torch.cat(pieces, -1)


def unpacked(architecture: Architecture, parameters: Float[Tensor, "E P"]) -> dict[str, Tensor]:
    """Views of the parameters by name, each ``(E, *shape)``.

    Raises:
        ValueError: parameters of another architecture.
    """
    if parameters.ndim != 2 or parameters.shape[-1] != architecture.num_parameters:
        raise ValueError(
            f"parameters has shape {tuple(parameters.shape)}; this architecture needs "
            f"(seeds, {architecture.num_parameters})"
        )
    shapes = architecture.shapes()
    pieces = parameters.split([math.prod(shape) for shape in shapes.values()], -1)
    return {
        name: piece.unflatten(-1, shape) for (name, shape), piece in zip(shapes.items(), pieces, strict=True)
    }


@checked
def plain_network(
    architecture: Architecture, parameters: Float[Tensor, "E P"], seed: int
) -> OrdinaryTransformer:
    """One seed of a stack as the module that a reader would write."""
    valid.indices("seed", seed, len(parameters), "seeds")
    network = OrdinaryTransformer(architecture).to(parameters)
    network.load_state_dict({k: x[seed].detach() for k, x in unpacked(architecture, parameters).items()})
    return network.eval()


class Pass(NamedTuple):
    """A forward pass taken apart.

    ``values (E, B, S)``; ``residual (L+1, E, B, S, width)`` of the queries before the first layer and
    after each; ``attention (L, E, B, H, K+S, K)``: what every token pays to each distinct source, all its
    copies together.
    """

    values: Tensor
    residual: Tensor
    attention: Tensor


@checked
def stacked_values(
    architecture: Architecture,
    parameters: Float[Tensor, "E P"],
    tokens: Float[Tensor, "E B K t"],
    queries: Float[Tensor, "E B S t"],
    counts: Float[Tensor, "E B K"],
    averaged: Bool[Tensor, "L H"] | None = None,
) -> Float[Tensor, "E B S"]:
    """Values of every query in every prompt for every seed.

    Equal tokens have equal residuals in every layer, since nothing tells them apart. So each distinct
    token is computed once, and ``log count`` is added to its scores.

    Args:
        architecture: of the network.
        parameters: one row for each seed.
        tokens: the distinct tokens of each prompt; those of count 0 are not heard.
        queries: the query tokens.
        counts: how often each token occurs; at least one occurs in each prompt.
        averaged: heads whose scores are set to 0: they hear the average over the context, by counts.
    """
    return _run(architecture, parameters, tokens, queries, counts, averaged, False).values


@checked
def stacked_pass(
    architecture: Architecture,
    parameters: Float[Tensor, "E P"],
    tokens: Float[Tensor, "E B K t"],
    queries: Float[Tensor, "E B S t"],
    counts: Float[Tensor, "E B K"],
    averaged: Bool[Tensor, "L H"] | None = None,
) -> Pass:
    """Like :func:`stacked_values`, with everything that the instruments look at."""
    return _run(architecture, parameters, tokens, queries, counts, averaged, True)


def readout_of(
    architecture: Architecture, parameters: Float[Tensor, "E P"], residual: Float[Tensor, "E B S w"]
) -> Float[Tensor, "E B S"]:
    """The network's own last normalisation and readout, put on any residual: the layer lens."""
    p = unpacked(architecture, parameters)
    x = _normalised(residual.flatten(1, 2), p["encoder.norm.weight"], p["encoder.norm.bias"])
    out = (x @ p["readout.weight"].mT + p["readout.bias"][:, None])[..., 0]
    return architecture.output_scale * out.unflatten(1, residual.shape[1:3])


def _run(a, parameters, tokens, queries, counts, averaged, trace):
    p = unpacked(a, parameters)
    num, batch, sources = counts.shape
    size = tokens.shape[-1]
    if size != a.token_size or queries.shape[-1] != size:
        raise ValueError(f"tokens have {size} entries; this architecture reads {a.token_size}")
    if num != len(parameters):
        raise ValueError(f"prompts for {num} seeds; parameters has {len(parameters)}")
    mask = counts.log()[:, :, None, None]  # seed, prompt, head, listener, source
    x = torch.cat([tokens, queries], 2).flatten(1, 2)
    x = torch.baddbmm(p["embed.bias"][:, None], x, p["embed.weight"].mT)
    each = x.shape[1] // batch
    residual, attention = [x.unflatten(1, (batch, each))[:, :, sources:]], []
    for i in range(a.num_layers):
        layer = f"encoder.layers.{i}."
        kept = None if averaged is None else (~averaged[i]).to(x)[:, None, None]
        last = i == a.num_layers - 1 and not trace  # then only the queries go on
        y = _normalised(x, p[layer + "norm1.weight"], p[layer + "norm1.bias"])
        weight, bias = p[layer + "self_attn.in_proj_weight"], p[layer + "self_attn.in_proj_bias"]
        w, heads = a.width, a.num_heads
        if last:
            y = y.unflatten(1, (batch, each))
            query = torch.baddbmm(bias[:, None, :w], y[:, :, sources:].flatten(1, 2), weight[:, :w].mT)
            both = torch.baddbmm(bias[:, None, w:], y[:, :, :sources].flatten(1, 2), weight[:, w:].mT)
            key, value = both.unflatten(1, (batch, sources)).split(w, -1)
            x = x.unflatten(1, (batch, each))[:, :, sources:].flatten(1, 2)
        else:
            query, key, value = torch.baddbmm(bias[:, None], y, weight.mT).split(w, -1)
            key, value = (z.unflatten(1, (batch, each))[:, :, :sources] for z in (key, value))
        query, key, value = (
            z.reshape(num, batch, -1, heads, w // heads).transpose(2, 3) for z in (query, key, value)
        )
        if kept is None and not trace:
            flat = (z.flatten(0, 1) for z in (query, key, value))
            heard = F.scaled_dot_product_attention(*flat, attn_mask=mask.flatten(0, 1))
            heard = heard.unflatten(0, (num, batch))
        else:  # the same, where weights are looked at or scores are changed
            scores = query @ key.mT / math.sqrt(w // heads)
            paid = ((scores if kept is None else scores * kept) + mask).softmax(-1)
            heard = paid @ value
        heard = heard.transpose(2, 3).reshape(num, -1, w)
        x = x + torch.baddbmm(
            p[layer + "self_attn.out_proj.bias"][:, None], heard, p[layer + "self_attn.out_proj.weight"].mT
        )
        y = _normalised(x, p[layer + "norm2.weight"], p[layer + "norm2.bias"])
        y = torch.baddbmm(p[layer + "linear1.bias"][:, None], y, p[layer + "linear1.weight"].mT).relu()
        x = x + torch.baddbmm(p[layer + "linear2.bias"][:, None], y, p[layer + "linear2.weight"].mT)
        if trace:
            residual.append(x.unflatten(1, (batch, each))[:, :, sources:])
            attention.append(paid)
    final = x.unflatten(1, (batch, -1))[:, :, -queries.shape[2] :]
    values = readout_of(a, parameters, final)
    if not trace:
        return Pass(values, None, None)
    return Pass(values, torch.stack(residual), torch.stack(attention))


def _normalised(x, weight, bias):
    return torch.addcmul(bias[:, None], F.layer_norm(x, x.shape[-1:]), weight[:, None])
