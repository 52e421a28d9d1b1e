"""Both transformers as other code uses modules: torch.func, compilation, export, copies, files, types."""

import copy
import io
import pickle
import warnings

import numpy as np
import pytest
import torch
from torch.func import functional_call, grad, hessian, jacfwd, jacrev, vmap

from icrl.linear_transformer import LinearTransformer, sarsa_prompt, sarsa_weights
from icrl.mrp import random_mrp
from icrl.softmax_transformer import SoftmaxTransformer, softmax_td_prompt, softmax_td_weights


def softmax_case(seed=0):
    rng = np.random.default_rng(seed)
    process = random_mrp(3, 0.9, rng)
    states = process.sample(6, rng)
    prompt = softmax_td_prompt(rng.normal(size=(3, 2)), states, process.reward[states[:-1]])
    return SoftmaxTransformer(3, 0.9, *softmax_td_weights(2)), prompt


def linear_case(seed=0):
    rng = np.random.default_rng(seed)
    prompt = sarsa_prompt(
        rng.normal(size=2), rng.normal(size=(6, 2)), rng.normal(size=(6, 2)), rng.normal(size=6), 0.9
    )
    return LinearTransformer(*sarsa_weights(2, 0.5), num_parameters=2), prompt


pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")  # by forward mode
CASES = pytest.mark.parametrize("case", [softmax_case, linear_case])


@CASES
def test_vmap_over_prompts_is_a_batch(case):
    """No check stops it; values and readouts too."""
    model = case()[0]
    prompts = torch.stack([case(seed)[1] for seed in range(4)])
    torch.testing.assert_close(vmap(model)(prompts), model(prompts))
    short = model.values if isinstance(model, SoftmaxTransformer) else model.readout
    expected = torch.stack([short(prompt) for prompt in prompts])
    torch.testing.assert_close(vmap(short)(prompts), expected)


@CASES
def test_vmap_over_weights(case):
    """One prompt, a batch of weights: what a sweep over initial weights does."""
    model, prompt = case()
    stacked = {name: torch.stack([p.detach(), 0.5 * p.detach()]) for name, p in model.named_parameters()}
    found = vmap(lambda weights: functional_call(model, weights, (prompt,)))(stacked)
    for k in range(2):
        one = {name: p[k] for name, p in stacked.items()}
        torch.testing.assert_close(found[k], functional_call(model, one, (prompt,)))


@CASES
def test_derivatives_of_all_kinds_agree(case):
    """Reverse, forward, a gradient for each prompt, and the Hessian as the Jacobian of the gradient."""
    model, prompt = case()

    def total(z):
        return model(z)[..., -1, -1].square().sum()

    slope = grad(total)(prompt)
    leaf = prompt.clone().requires_grad_()
    torch.testing.assert_close(slope, torch.autograd.grad(total(leaf), leaf)[0])
    torch.testing.assert_close(jacrev(total)(prompt), slope)
    torch.testing.assert_close(jacfwd(total)(prompt), slope)
    each = vmap(grad(total))(torch.stack([prompt, 2 * prompt]))
    torch.testing.assert_close(each, torch.stack([slope, grad(total)(2 * prompt)]))
    torch.testing.assert_close(hessian(total)(prompt), jacrev(grad(total))(prompt))


@pytest.mark.bad_input  # that is, without jaxtyping's own checks, which cannot be traced
@CASES
def test_compiled_and_exported(case):
    """Traced whole, without a break in the graph, the answers are the same."""
    model, prompt = case()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of PyTorch's own making
        compiled = torch.compile(model, backend="eager", fullgraph=True)
        torch.testing.assert_close(compiled(prompt), model(prompt))
        exported = torch.export.export(model, (prompt,)).module()
    torch.testing.assert_close(exported(2 * prompt), model(2 * prompt))
    torch._dynamo.reset()


@CASES
def test_copies_and_files(case):
    model, prompt = case()
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    other = copy.deepcopy(model)
    with torch.no_grad():
        for p in other.parameters():
            p.mul_(3)
    assert not torch.equal(other(prompt), model(prompt))  # a deep copy shares nothing
    other.load_state_dict(torch.load(file, weights_only=True))
    for same in (other, pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert torch.equal(same(prompt), model(prompt))


@CASES
def test_types_strides_and_device_come_from_the_prompt(case):
    """float32 and float64, transposed and sliced memory, the meta device: no device is asked for."""
    model, prompt = case()
    single = model(prompt.float())
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), model(prompt), rtol=1e-4, atol=1e-5)
    strided = torch.stack([prompt, prompt], -1)[..., 0].mT.contiguous().mT
    assert not strided.is_contiguous()
    torch.testing.assert_close(model(strided), model(prompt))
    shape = model(prompt.to("meta"))
    assert (shape.device.type, shape.shape) == ("meta", prompt.shape)


@pytest.mark.parametrize("num_layers", [0, 2])
def test_output_is_not_the_input(num_layers):
    """Writing into one leaves the other alone, also where no layer did anything."""
    prompt = softmax_case()[1]
    model = SoftmaxTransformer(num_layers, 0.9, *softmax_td_weights(2))
    before = prompt.clone()
    for output in (model(prompt), model.values(prompt)):
        output.add_(1)
        assert torch.equal(prompt, before)
    block, window = linear_case()
    kept = window.clone()
    block(window).add_(1)
    block.readout(window).add_(1)
    assert torch.equal(window, kept)


@pytest.mark.bad_input
@CASES
def test_refuses_what_overflows(case):
    """Finite prompts whose answer is not: refused by name; under vmap nobody can look, and inf comes out."""
    model, prompt = case()
    with torch.no_grad():
        model.load_state_dict({name: 1e200 * p for name, p in model.state_dict().items()})
    with pytest.raises(ValueError, match=r"^prompt"):
        model(1e60 * prompt)
    assert vmap(model)(1e60 * prompt[None]).shape == (1, *prompt.shape)
