"""Both transformers as other code uses modules: torch.func, compilation, export, copies, files, types."""

import copy
import io
import pickle
import warnings

import numpy as np
import pytest
import torch
from torch.func import functional_call, grad, hessian, jacfwd, jacrev, vmap

from icrl.linear_transformer import (
    LinearTransformer,
    actor_critic_prompt,
    actor_critic_weights,
    sarsa_prompt,
    sarsa_weights,
)
from icrl.mdp import random_mdp
from icrl.mrp import random_mrp
from icrl.softmax_transformer import (
    SoftmaxTransformer,
    priced_td_weights,
    softmax_td_prompt,
    softmax_td_weights,
)


def context(seed):
    rng = np.random.default_rng(seed)
    process = random_mrp(3, 0.9, rng)
    states = process.sample(6, rng)
    return softmax_td_prompt(rng.normal(size=(3, 2)), states, process.reward[states[:-1]])


def softmax_case(seed=0):
    return SoftmaxTransformer(3, 0.9, *softmax_td_weights(2)), context(seed), {}


def priced_case(seed=0):
    """Weights of its own for each layer; the last one averages and prices."""
    return SoftmaxTransformer(3, 0.9, *priced_td_weights(2, 2, 0.9)), context(seed), {}


def pairs_case(seed=0):
    """Pairs of states and actions, each of them read from its own query; two heads."""
    rng = np.random.default_rng(seed)
    process = random_mdp(2, 2, 0.9, rng)
    roll = process.rollout(np.full((2, 2), 0.5), 6, rng)
    prompt = softmax_td_prompt(2 * np.eye(4), 2 * roll.states + roll.actions, roll.rewards, np.arange(4))
    model = SoftmaxTransformer(2, 0.9, *priced_td_weights(4, 1, 0.9), head="dual")
    return model, prompt, {"num_queries": 5}


def window(seed):
    rng = np.random.default_rng(seed)
    return rng.normal(size=2), rng.normal(size=(6, 2)), rng.normal(size=(6, 2)), rng.normal(size=6)


def linear_case(seed=0):
    return LinearTransformer(*sarsa_weights(2, 0.5), num_parameters=2), sarsa_prompt(*window(seed), 0.9), {}


def actor_critic_case(seed=0):
    weights, *rest = window(seed)
    scores = np.random.default_rng(seed).normal(size=(6, 3))
    prompt = actor_critic_prompt(weights, np.ones(3), *rest, scores, 0.9)
    return LinearTransformer(*actor_critic_weights(2, 3, 0.5, 0.1), num_parameters=5), prompt, {}


pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")  # by forward mode
CASES = pytest.mark.parametrize(
    "case", [softmax_case, priced_case, pairs_case, linear_case, actor_critic_case]
)


def short(model):
    """What reads less than the whole prompt."""
    return model.values if isinstance(model, SoftmaxTransformer) else model.readout


@CASES
def test_vmap_over_prompts_is_a_batch(case):
    """No check stops it; values and readouts too."""
    model, _, more = case()
    prompts = torch.stack([case(seed)[1] for seed in range(4)])
    torch.testing.assert_close(vmap(lambda z: model(z, **more))(prompts), model(prompts, **more))
    less = short(model)
    expected = torch.stack([less(prompt, **more) for prompt in prompts])
    torch.testing.assert_close(vmap(lambda z: less(z, **more))(prompts), expected)


@CASES
def test_vmap_over_weights(case):
    """One prompt, a batch of weights: what a sweep over initial weights does."""
    model, prompt, more = case()
    stacked = {name: torch.stack([p.detach(), 0.5 * p.detach()]) for name, p in model.named_parameters()}
    found = vmap(lambda weights: functional_call(model, weights, (prompt,), more))(stacked)
    for k in range(2):
        one = {name: p[k] for name, p in stacked.items()}
        torch.testing.assert_close(found[k], functional_call(model, one, (prompt,), more))


@CASES
def test_derivatives_of_all_kinds_agree(case):
    """Reverse, forward, a gradient for each prompt, and the Hessian as the Jacobian of the gradient."""
    model, prompt, more = case()

    def total(z):
        return model(z, **more)[..., -1, -1].square().sum()

    slope = grad(total)(prompt)
    leaf = prompt.clone().requires_grad_()
    torch.testing.assert_close(slope, torch.autograd.grad(total(leaf), leaf)[0])
    assert slope.abs().max() > 0
    torch.testing.assert_close(jacrev(total)(prompt), slope)
    torch.testing.assert_close(jacfwd(total)(prompt), slope)
    each = vmap(grad(total))(torch.stack([prompt, 2 * prompt]))
    torch.testing.assert_close(each, torch.stack([slope, grad(total)(2 * prompt)]))
    torch.testing.assert_close(hessian(total)(prompt), jacrev(grad(total))(prompt))
    row = jacrev(lambda z: short(model)(z, **more))(prompt)
    torch.testing.assert_close(row, jacfwd(lambda z: short(model)(z, **more))(prompt))


@CASES
def test_derivatives_by_the_weights(case):
    """Those that training takes, one for each prompt, against a loop; the Hessian."""
    model, prompt, more = case()
    prompts = torch.stack([prompt, 2 * prompt])
    weights = {name: p.detach() for name, p in model.named_parameters()}

    def total(weights, z):
        return functional_call(model, weights, (z,), more)[..., -1, -1].square().sum()

    each = vmap(grad(total), in_dims=(None, 0))(weights, prompts)
    model.requires_grad_()
    for k in range(2):
        loss = model(prompts[k], **more)[..., -1, -1].square().sum()
        alone = torch.autograd.grad(loss, list(model.parameters()))
        torch.testing.assert_close([each[name][k] for name in weights], list(alone))
        assert all(x.abs().max() > 0 for x in alone)
    found, expected = hessian(total)(weights, prompt), jacrev(grad(total))(weights, prompt)
    for name in weights:
        torch.testing.assert_close(found[name], expected[name])


@pytest.mark.bad_input  # that is, without jaxtyping's own checks, which cannot be traced
@pytest.mark.parametrize("case", [softmax_case, pairs_case, linear_case, actor_critic_case])
def test_compiled_and_exported(case):
    """Traced whole, without a break in the graph, the answers are the same."""
    model, prompt, more = case()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of PyTorch's own making
        compiled = torch.compile(model, backend="eager", fullgraph=True)
        torch.testing.assert_close(compiled(prompt, **more), model(prompt, **more))
        exported = torch.export.export(model, (prompt,), more).module()
    torch.testing.assert_close(exported(2 * prompt, **more), model(2 * prompt, **more))
    torch._dynamo.reset()


@CASES
def test_copies_and_files(case):
    model, prompt, more = case()
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    other = copy.deepcopy(model)
    with torch.no_grad():
        for p in other.parameters():
            p.mul_(3)
    assert not torch.equal(other(prompt, **more), model(prompt, **more))  # a deep copy shares nothing
    other.load_state_dict(torch.load(file, weights_only=True))
    for same in (other, pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert torch.equal(same(prompt, **more), model(prompt, **more))
        assert torch.equal(short(same)(prompt, **more), short(model)(prompt, **more))


@CASES
def test_types_strides_and_device_come_from_the_prompt(case):
    """float32 and float64, transposed and sliced memory, the meta device: no device is asked for."""
    model, prompt, more = case()
    single = model(prompt.float(), **more)
    assert single.dtype == short(model)(prompt.float(), **more).dtype == torch.float32
    torch.testing.assert_close(single.double(), model(prompt, **more), rtol=1e-4, atol=1e-5)
    strided = torch.stack([prompt, prompt], -1)[..., 0].mT.contiguous().mT
    assert not strided.is_contiguous()
    torch.testing.assert_close(model(strided, **more), model(prompt, **more))
    torch.testing.assert_close(short(model)(strided, **more), short(model)(prompt, **more))
    torch.testing.assert_close(model(prompt.expand(2, -1, -1), **more)[1], model(prompt, **more))
    shape = model(prompt.to("meta"), **more)
    assert (shape.device.type, shape.shape) == ("meta", prompt.shape)
    flipped = {name: p.mT.contiguous().mT for name, p in model.state_dict().items()}
    torch.testing.assert_close(functional_call(model, flipped, (prompt,), more), model(prompt, **more))
    before = model(prompt, **more)
    torch.testing.assert_close(
        model.float()(prompt, **more), before, rtol=1e-4, atol=1e-5
    )  # the prompt decides


@CASES
def test_output_is_not_the_input(case):
    """Writing into one leaves the other alone, and the weights, also where no layer did anything."""
    model, prompt, more = case()
    before, weights = prompt.clone(), copy.deepcopy(model.state_dict())
    bare = SoftmaxTransformer(0, 0.9, *softmax_td_weights(prompt.shape[-2] - 3))
    calls = (model, short(model), bare, bare.values)
    for output in (call(prompt, **(more if call in calls[:2] else {})) for call in calls):
        output.add_(1)
        assert torch.equal(prompt, before)
    torch.testing.assert_close(model.state_dict(), weights, rtol=0, atol=0)


@pytest.mark.parametrize("case", [softmax_case, priced_case, pairs_case])
def test_layers_may_be_written_into(case):
    """Each is a copy: neither the prompt nor the layers to come change."""
    model, prompt, more = case()
    before = prompt.clone()
    expected = [z.clone() for z in model.layers(prompt, **more)]
    for z, same in zip(model.layers(prompt, **more), expected, strict=True):
        assert torch.equal(z, same)
        z.add_(1)
    assert torch.equal(prompt, before)


@pytest.mark.parametrize("kind", [SoftmaxTransformer, LinearTransformer])
def test_weights_are_copies(kind):
    """What they were made from may be used again."""
    given = torch.eye(5, dtype=torch.float64), torch.eye(5, dtype=torch.float64)
    model = kind(2, 0.9, *given) if kind is SoftmaxTransformer else kind(*given)
    for x in given:
        x.zero_()
    assert all(torch.equal(p, torch.eye(5, dtype=torch.float64)) for p in model.parameters())


@pytest.mark.bad_input
@CASES
def test_refuses_what_overflows(case):
    """Finite prompts whose answer is not: refused by name; under vmap nobody can look, and inf comes out."""
    model, prompt, more = case()
    with torch.no_grad():
        model.load_state_dict({name: 1e200 * p for name, p in model.state_dict().items()})
    with pytest.raises(ValueError, match=r"^prompt"):
        model(1e60 * prompt, **more)
    assert vmap(lambda z: model(z, **more))(1e60 * prompt[None]).shape == (1, *prompt.shape)
