"""Pretraining written out plainly: one prompt at a time, one token at a time where it matters.

The baseline of the benchmark and the reference for the fast trainer. Nothing of the package is used: the
prompt of eq. (10), the block of eqs. (1)-(3) with its mask and the shift of Lemma 1 of Xie et al. (2026) are
transcribed, autograd differentiates, and Adam is spelt out.
"""

import math

import numpy as np
import torch


def sample_states(transition, num_transitions, start, rng):
    """One trajectory, one draw for each transition."""
    states = [rng.choice(len(start), p=start)]
    for _ in range(num_transitions):
        states.append(rng.choice(len(start), p=transition[states[-1]]))
    return states


def boyan_chain(num_states, rng):
    """Transition matrix, rewards and stationary distribution of one random chain."""
    transition = np.zeros((num_states, num_states))
    for s in range(num_states - 2):
        transition[s, s + 1] = rng.uniform()
        transition[s, s + 2] = 1 - transition[s, s + 1]
    transition[-2, -1] = 1
    transition[-1] = rng.dirichlet(np.ones(num_states))
    system = np.vstack([(transition.T - np.eye(num_states))[:-1], np.ones(num_states)])
    stationary = np.linalg.solve(system, np.eye(num_states)[-1])
    return transition, rng.uniform(-1, 1, num_states), stationary / stationary.sum()


def prompt(features, states, reward):
    """Columns: features, reward, target memory, current memory; the last column's reward is 0."""
    columns = [[*features[s].tolist(), reward[s].item(), 0.0, 0.0] for s in states]
    columns[-1][-3] = 0.0
    return torch.tensor(columns, dtype=torch.float64).T


def forward(value, score, z, discount, num_layers, attention):
    """The query's current memory after the last layer; ``value`` and ``score`` are lists of matrices."""
    size, columns = z.shape
    mask = torch.zeros(columns, columns, dtype=z.dtype)
    mask[-1] = -torch.inf
    shift = torch.diag(torch.ones(columns - 1, dtype=z.dtype), -1)
    clear, write = torch.eye(size, dtype=z.dtype), torch.zeros(size, size, dtype=z.dtype)
    clear[-2, -2] = 0
    write[-2, -1] = discount
    for layer in range(num_layers):
        V, A = value[layer % len(value)], score[layer % len(score)]
        scores = z.T @ A @ z
        if attention == "softmax":
            weights = torch.softmax(scores + mask, dim=0)
        else:
            weights = scores * (mask == 0) / (columns - 1)
        z = z + V @ z @ weights
        z = clear @ z + write @ z @ shift
    return z[-1, -1]


class LiteralTrainer:
    """One seed. ``value`` and ``score`` are ``(K, D, D)``; masks are zeros and ones of the same shape."""

    def __init__(self, value, score, masks, discount, num_layers, attention="softmax", beta=(0.9, 0.999)):
        self.weights = [w.clone().requires_grad_() for w in (value, score)]
        self.masks, self.discount, self.num_layers = masks, discount, num_layers
        self.attention, self.beta, self.count = attention, beta, 0
        self.first = [torch.zeros_like(w) for w in self.weights]
        self.second = [torch.zeros_like(w) for w in self.weights]

    def step(self, prompts, learning_rate):
        """One step of TD on tasks ``(features, states S_0 .. S_{n+1}, reward)``; the mean loss."""
        total = 0.0
        for w in self.weights:
            w.grad = torch.zeros_like(w)
        for features, states, reward in prompts:
            here, there = states[:-1], states[1:]
            settings = self.discount, self.num_layers, self.attention
            with torch.no_grad():
                bootstrap = forward(*self.weights, prompt(features, there, reward), *settings)
            target = reward[here[-1]] + self.discount * bootstrap
            error = target - forward(*self.weights, prompt(features, here, reward), *settings)
            loss = error**2 / 2 / len(prompts)
            loss.backward()
            total += loss.item()
        self.adam(learning_rate)
        return total

    def adam(self, learning_rate):
        """Kingma and Ba's update, as printed."""
        self.count += 1
        one, two = self.beta
        for w, mask, m, v in zip(self.weights, self.masks, self.first, self.second, strict=True):
            gradient = w.grad * mask
            m += (1 - one) * (gradient - m)
            v += (1 - two) * (gradient**2 - v)
            scale = math.sqrt(1 - two**self.count) / (1 - one**self.count)
            with torch.no_grad():
                w -= learning_rate * scale * m / (v.sqrt() + 1e-8 * math.sqrt(1 - two**self.count))
