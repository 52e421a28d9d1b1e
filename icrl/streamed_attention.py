"""Softmax attention over contexts whose scores do not fit into memory: block by block, never all at once.

Scores are formed in blocks that stay in a core's cache, exponentiated there and multiplied at once, so that
memory grows with the number of columns and not with its square. Nothing here is approximate. See
:doc:`/book/softmax-transformer`.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

BLOCK = 256
"""Rows and columns of a block of scores, half a megabyte in float64."""

BITS = math.log2(math.e)
"""Scores are multiplied by this within the product, and two is raised to them, since ``exp2`` is faster."""


class StreamedWeights:
    """Attention weights of columns that each stand for so many sources, as a function of what is weighed.

    ``weights(values)`` is ``values @ W`` with ``W[i, j] = exp(s_ij) / sum_k visits_k exp(s_kj)`` and
    ``s = columns' A columns``; ``values`` must be zero in columns that are no source (0 visits).

    The scores of a column are lowered by a bound on the largest of them, which costs nothing: it is a further
    row of the product. Where ``A`` is symmetric one bound for all columns keeps ``exp`` symmetric, and half
    of the exponentials serve twice. Where a column's sum underflows, as scores of very different sizes make
    it, its own largest score is found first and subtracted exactly.

    Args:
        columns: the rows that the scores read, ``(r, K)``.
        score: ``A`` on those rows, ``(r, r)``.
        visits: how many sources each column stands for, ``(K,)``.
        more: rows that are summed at once with the visits, into ``total``, ``(R, K)``.
    """

    def __init__(
        self,
        columns: Float[Tensor, "r K"],
        score: Float[Tensor, "r r"],
        visits: Float[Tensor, " K"],
        more: Float[Tensor, "R K"] | None = None,
    ):
        values = visits[None] if more is None else torch.cat([more, visits[None]])
        self.sources, self.exact = (visits > 0).nonzero()[:, 0], False
        self.heard, self.listening = _operands(columns, columns, score)
        self.symmetric = torch.equal(score, score.mT)
        if self.symmetric:
            self.shift = bound_of_scores(self.heard, self.listening).amax().expand(columns.shape[1])
            self.total = self._weigh(values)
            if _kept(self.total[-1]):
                return
        self.symmetric, self.heard = False, self.heard[:, self.sources]
        self.shift = bound_of_scores(self.heard, self.listening)
        self.total = self._weigh(values)
        if not _kept(self.total[-1]):
            self.shift, self.exact = largest_scores(self.heard, self.listening), True
            self.total = self._weigh(values)

    def __call__(self, values: Float[Tensor, "*b R K"]) -> Float[Tensor, "*b R K"]:
        """``values @ W``; rows of ``values`` that are zero throughout cost nothing."""
        flat = values.reshape(-1, values.shape[-1])
        busy = flat.ne(0).any(-1).nonzero()[:, 0]
        result = torch.zeros_like(flat)
        result[busy] = self._weigh(flat[busy]) / self.total[-1]
        return result.reshape(values.shape)

    def _weigh(self, values):
        """``values @ exp(scores - shift)``."""
        kinds = {"exact": self.exact, "symmetric": self.symmetric}
        values = values if self.symmetric else values[:, self.sources].contiguous()
        return exponential_sums(self.heard, self.listening, self.shift, values, **kinds)


class StreamedAttention(torch.autograd.Function):
    """``V Z softmax(Z' A Z + M)`` of one prompt, and its gradient, in memory of the size of the prompt.

    Nothing but sums of a column is kept for the gradient: the backward pass forms each block of scores once
    more. Also returns ``Z softmax`` and the logarithms (base 2) of the normalisers, for the backward pass. No
    second derivatives and no forward mode.
    """

    @staticmethod
    def forward(prompt, value, score, num_queries):
        """Arguments as in :func:`icrl.attention.softmax_attention`, without batch dimensions."""
        visits = torch.ones_like(prompt[0])
        visits[prompt.shape[1] - num_queries :] = 0
        weights = StreamedWeights(prompt, score, visits, visits * prompt)
        sums = weights.total[-1]
        mean = weights.total[:-1] / sums
        return value @ mean, mean, weights.shift + sums.log2()

    @staticmethod
    def setup_context(ctx, inputs, output):
        """Keeps the prompt, the weights and two things of the size of the prompt."""
        prompt, value, score, ctx.num_queries = inputs
        ctx.mark_non_differentiable(*output[1:])
        ctx.save_for_backward(prompt, value, score, *output)

    @staticmethod
    def backward(ctx, slope, *_):
        """The gradients with respect to prompt, ``V`` and ``A``."""
        needed = ctx.needs_input_grad[:3]
        gradients = _StreamedGradient.apply(*ctx.saved_tensors, slope, ctx.num_queries, needed)
        return *(g if wanted else None for g, wanted in zip(gradients, needed, strict=True)), None

    @staticmethod
    def vmap(info, in_dims, *operands):
        """One prompt after the other."""
        return _one_by_one(StreamedAttention, info, in_dims, operands)


class _StreamedGradient(torch.autograd.Function):
    """The backward pass of :class:`StreamedAttention`; zeros for what is not needed."""

    @staticmethod
    def forward(prompt, value, score, update, mean, log_sums, slope, num_queries, needed):
        of_prompt, of_score = torch.zeros_like(prompt), torch.zeros_like(score)
        of_value = slope @ mean.mT
        if not (needed[0] or needed[2]):
            return of_prompt, of_value, of_score
        sources = prompt[:, : prompt.shape[1] - num_queries]
        heard, listening = _operands(prompt, prompt, score)
        written = value.ne(0).any(1)
        # The slope of a score: its weight x (what its source says - what its column hears), along the slope.
        said = torch.cat([value[written] @ sources, torch.ones_like(sources[:1])])
        along = torch.cat([slope[written], -(slope * update).sum(0, keepdim=True)])
        whole = torch.ones_like(written) if needed[2] else score.ne(0).any(0)
        shift = bound_of_scores(heard, listening).amax().expand(log_sums.shape)
        sums = (log_sums - shift).exp2()
        few = len(said) * (whole.sum() + len(heard)) < 100  # more products than that cost more than blocks
        if few and torch.equal(score, score.mT) and _kept(sums**2):
            heard_mean = BITS * mean[score.ne(0).any(1)]
            of_said, of_heard, of_listening = _symmetric_backward_sums(
                (heard, listening, shift), (said, along / sums), prompt[whole], heard_mean * sums
            )
        else:
            of_said, of_heard, of_listening = _backward_sums(
                (heard[:, : sources.shape[1]], listening, log_sums), (said, along), prompt[whole]
            )
        if needed[2]:
            of_score = sources @ of_heard.mT
        of_prompt = score[score.ne(0).any(1)].mT @ (of_listening / BITS)
        of_prompt[:, : sources.shape[1]] += value[written].mT @ of_said + score[:, whole] @ of_heard
        return of_prompt, of_value, of_score

    @staticmethod
    def setup_context(ctx, inputs, output):
        """Nothing is kept: there are no second derivatives."""

    @staticmethod
    def backward(ctx, *_):
        raise NotImplementedError("attention in blocks has no second derivatives")

    @staticmethod
    def vmap(info, in_dims, *operands):
        return _one_by_one(_StreamedGradient, info, in_dims, operands)


def _one_by_one(function, info, in_dims, operands):
    """The elements of a vmap through a function, one after the other."""
    dims = [d if torch.is_tensor(x) else None for x, d in zip(operands, in_dims, strict=False)]
    moved = [x if d is None else x.movedim(d, 0) for x, d in zip(operands, dims, strict=True)]
    results = [
        function.apply(*(x if d is None else x[i] for x, d in zip(moved, dims, strict=True)))
        for i in range(info.batch_size)
    ]
    stacked = tuple(torch.stack(x) for x in zip(*results, strict=True))
    return stacked, (0,) * len(stacked)


def _operands(sources, prompt, score):
    """What of the sources is heard, in bits, and by what the columns listen: their product is the scores."""
    rows = score.ne(0).any(1)
    return BITS * sources[rows], score[rows] @ prompt


def _kept(sums):
    """Whether sums of exponentials are so large that they have lost nothing which float arithmetic keeps."""
    limits = torch.finfo(sums.dtype)
    return bool(((sums >= limits.tiny / limits.eps) & sums.isfinite()).all())


def _blocks(length):
    return [slice(i, min(i + BLOCK, length)) for i in range(0, length, BLOCK)]


def _extended(heard, listening, shift):
    """Operands whose product is the shifted scores: a row of ones against the shift."""
    left = torch.cat([heard, heard.new_ones(1, heard.shape[1])])
    return left.mT.contiguous(), torch.cat([listening, -shift[None]])


def _view(buffer, rows, columns):
    """The start of the buffer as a block of this size."""
    size = rows.stop - rows.start, columns.stop - columns.start
    return buffer[: size[0] * size[1]].view(size)


def bound_of_scores(heard: Float[Tensor, "r n"], listening: Float[Tensor, "r N"]) -> Float[Tensor, " N"]:
    """At least ``max_i x_i' y_j``: the largest of ``y_j`` with a point of the box around all ``x_i``."""
    low, high = heard.amin(1, keepdim=True), heard.amax(1, keepdim=True)
    return torch.maximum(low * listening, high * listening).sum(0)


def largest_scores(heard: Float[Tensor, "r n"], listening: Float[Tensor, "r N"]) -> Float[Tensor, " N"]:
    """``max_i x_i' y_j`` for each listener ``y_j``."""
    buffer, left = heard.new_empty(BLOCK**2), heard.mT.contiguous()
    result = listening.new_full(listening.shape[1:], -torch.inf)
    for j in _blocks(listening.shape[1]):
        for i in _blocks(heard.shape[1]):
            block = torch.mm(left[i], listening[:, j], out=_view(buffer, i, j))
            torch.maximum(result[j], block.amax(0), out=result[j])
    return result


def exponential_sums(
    heard: Float[Tensor, "r n"],
    listening: Float[Tensor, "r N"],
    shift: Float[Tensor, " N"],
    values: Float[Tensor, "R n"],
    *,
    exact: bool = False,
    symmetric: bool = False,
) -> Float[Tensor, "R N"]:
    """``values @ 2 ** (heard' listening - shift)``.

    Args:
        exact: the shift is the largest score as it was rounded; it is subtracted from the scores as they were
            rounded, a pass more: the largest of a column becomes 0 exactly, whatever its size.
        symmetric: ``heard' listening`` is symmetric and the shift one number; each pair is formed once.
    """
    left, right = (heard.mT.contiguous(), listening) if exact else _extended(heard, listening, shift)
    buffer = heard.new_empty(BLOCK**2)
    result = values.new_zeros(len(values), listening.shape[1])
    for k, j in enumerate(_blocks(listening.shape[1])):
        for i in _blocks(heard.shape[1])[: k + 1 if symmetric else None]:
            block = torch.mm(left[i], right[:, j], out=_view(buffer, i, j))
            if exact:
                block.sub_(shift[j])
            result[:, j].addmm_(values[:, i], block.exp2_())
            if symmetric and i != j:
                result[:, i].addmm_(values[:, j], block.mT)
    return result


def _backward_sums(scores, slopes, columns):
    """Sums over all pairs for the gradient: of what is said, of what is heard, of what listens."""
    heard, listening, log_sums = scores
    said, along = slopes
    left, right = _extended(heard, listening, log_sums)
    said = said.mT.contiguous()
    buffers = heard.new_empty(2, BLOCK**2)
    of_said = heard.new_zeros(len(along) - 1, heard.shape[1])
    of_heard = heard.new_zeros(len(columns), heard.shape[1])
    of_listening = torch.zeros_like(listening)
    for j in _blocks(listening.shape[1]):
        for i in _blocks(heard.shape[1]):
            weights = torch.mm(left[i], right[:, j], out=_view(buffers[0], i, j)).exp2_()
            of_said[:, i].addmm_(along[:-1, j], weights.mT)
            weights.mul_(torch.mm(said[i], along[:, j], out=_view(buffers[1], i, j)))
            of_heard[:, i].addmm_(columns[:, j], weights.mT)
            of_listening[:, j].addmm_(heard[:, i], weights)
    return of_said, of_heard, of_listening


def _symmetric_backward_sums(scores, slopes, columns, heard_sums):
    """The same where scores are symmetric, each pair once.

    The slope of a score is its weight times ``said' along``, a product of rank ``w + 1`` for ``w`` rows that
    are written: these sums are sums of the exponentials alone, with at most ``(w + 1) (D + r)`` rows.
    """
    (heard, listening, shift), (said, along) = scores, slopes
    n = said.shape[1]
    spoken = (said[:-1, None] * heard[:, :n]).flatten(0, 1)
    rows = [along[:-1], (along[:, None] * columns).flatten(0, 1), pad(spoken, (0, heard.shape[1] - n))]
    sums = exponential_sums(heard, listening, shift, torch.cat(rows), symmetric=True)
    of_said, of_heard, of_listening = sums.split([len(x) for x in rows])
    of_heard = (of_heard[:, :n].unflatten(0, (-1, len(columns))) * said[:, None]).sum(0)
    of_listening = (of_listening.unflatten(0, (-1, len(heard))) * along[:-1, None]).sum(0)
    return of_said[:, :n], of_heard, of_listening + heard_sums * along[-1]
