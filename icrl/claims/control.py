"""Claims of the chapter `control`: the loops against plain ones, the scores, the gauge."""

from functools import partial

import gymnasium
import numpy as np
import torch

from icrl.claims.registry import Claim, Claims, Evidence, largest, relative_error
from icrl.control.comparison import few_successors, raised
from icrl.control.loop import control
from icrl.control.scores import first_reward_time, optimal, score
from icrl.control.updaters import ActorCritic, LinearSarsa, SoftmaxPairs, Tabular, regauge
from icrl.linear_transformer import LinearTransformer, sarsa_prompt, sarsa_weights
from icrl.mdp import MarkovDecisionProcess, from_gymnasium, random_mdp
from icrl.policy_improvement import actor_critic_update, sarsa_update
from icrl.rollouts import rollout_batch

CHAPTER = "sec-co-"
TASKS = (
    ("FrozenLake-v1", {"is_slippery": False}),
    ("FrozenLake-v1", {}),
    ("FrozenLake8x8-v1", {}),
    ("CliffWalking-v1", {}),
    ("Taxi-v4", {}),
)


def worlds(rng):
    """Two random processes and five of Gymnasium's."""
    chosen = [random_mdp(9, 4, 0.5, rng), few_successors(9, 4, 0.9, rng)]
    return chosen + [from_gymnasium(name, 0.95, **options) for name, options in TASKS]


def shared_greedy(q, epsilon):
    """Epsilon-greedy in every state; values within 1e-10 of the best share."""
    rounded = np.round(q, 10)
    best = rounded == rounded.max(axis=1, keepdims=True)
    return epsilon / q.shape[1] + (1 - epsilon) * best / best.sum(axis=1, keepdims=True)


def plain_loop(process, act, learn, memory, windows, seed, n=20):
    """One run, window by window: a rollout, then the plain rule."""
    rng, start, memories = np.random.default_rng(seed), None, [memory]
    for _ in range(windows):
        roll = process.rollout(act(memory), n, rng, start)
        start, memory = int(roll.states[-1]), learn(memory, roll)
        memories.append(memory)
    return memories


def starting_at(updater, memory):
    """The same updater with another first memory, so that worlds with rare rewards are no test of zeros."""

    class Started(type(updater)):
        def start(self, batch, num_states, num_actions):
            return np.repeat(memory[None], batch, 0)

    return Started(**vars(updater))


def compare(rng, updater, act, learn, extra=0):
    """Largest distance between the loop's memories and the plain loop's, over windows and worlds."""
    errors = []
    for process in worlds(rng):
        size, num_actions = process.reward.shape
        windows, seed = (12 if size < 100 else 3), int(rng.integers(2**31))
        memory = rng.normal(size=(size, num_actions + extra)).round(1)  # rounded: some are tied,
        memory += 1e-13 * rng.normal(size=memory.shape)  # up to what rounding leaves
        started, records = starting_at(updater, memory), range(windows + 1)
        loop = control([process], started, records, np.random.default_rng(seed))
        plain = plain_loop(process, act, lambda m, r, p=process: learn(p, m, r), memory, windows, seed)
        errors.append(relative_error(loop.memories[:, 0], np.array(plain)))
    return Evidence(largest(errors), 1e-11, "7 worlds, 12 windows of 20 transitions, Taxi 3")


def loop_sarsa(rng):
    """The block in slots against SARSA on one-hot features of all pairs."""
    step = float(rng.uniform(1, 8))

    def learn(process, q, roll):
        columns = np.zeros((len(roll.states), q.size))  # one-hot: a table of all pairs would be large
        columns[np.arange(len(columns)), roll.states * q.shape[1] + roll.actions] = 1
        window = columns[:-1], columns[1:] * ~roll.ended[:, None]
        return sarsa_update(q.ravel(), *window, roll.rewards, process.discount, step).reshape(q.shape)

    return compare(rng, LinearSarsa(step), lambda q: shared_greedy(q, 0.1), learn)


def loop_actor_critic(rng):
    """The block in slots against actor-critic with tables of the world's size."""
    steps = [float(x) for x in rng.uniform(0.2, 2, 2)]

    def act(memory):
        exponential = np.exp(memory[:, 1:] - memory[:, 1:].max(axis=1, keepdims=True))
        return exponential / exponential.sum(axis=1, keepdims=True)

    def learn(process, memory, roll):
        (size, columns), policy = memory.shape, act(memory)
        phi, phi_next = roll.window(np.eye(size))
        scores = np.zeros((len(phi), size, columns - 1))
        for i, (s, a) in enumerate(zip(roll.states[:-1], roll.actions[:-1], strict=True)):
            scores[i, s] = -policy[s]
            scores[i, s, a] += 1
        window = phi, phi_next, roll.rewards, scores.reshape(len(phi), -1)
        given = memory[:, 0], memory[:, 1:].ravel(), *window, process.discount, *steps
        critic, actor = actor_critic_update(*given)
        return np.column_stack([critic, actor.reshape(size, -1)])

    return compare(rng, ActorCritic(*steps), act, learn, extra=1)


def softmax_td_on_pairs(process, q, roll, tau, step, layers, everywhere):
    """Weighted softmax TD on the table of pairs, written as loops; ended transitions have no successor."""
    pairs = roll.states * q.shape[1] + roll.actions
    values, n = q.ravel().copy(), len(roll.rewards)
    visited = np.unique(pairs[:-1])
    weights = np.where(pairs[:-1] == np.arange(q.size)[:, None], np.exp(tau), 1.0)  # (pairs, n)
    for _ in range(layers):
        errors = [
            roll.rewards[i] + process.discount * values[pairs[i + 1]] * (not roll.ended[i]) - values[pairs[i]]
            for i in range(n)
        ]
        values = values + step * (weights @ errors) / weights.sum(axis=1)
    kept = q.ravel().copy()
    where = slice(None) if everywhere else visited
    kept[where] = values[where]
    return kept.reshape(q.shape)


def loop_softmax(rng):
    """The transformer in slots, with one blank query, against softmax TD on the whole table of pairs."""
    results = []
    for everywhere in (True, False):
        tau, step, layers = float(rng.uniform(1, 6)), float(rng.uniform(0.1, 1)), 3
        learn = partial(softmax_td_on_pairs, tau=tau, step=step, layers=layers, everywhere=everywhere)
        updater = SoftmaxPairs(layers, tau, step, "all" if everywhere else "visited")
        results.append(compare(rng, updater, lambda q: shared_greedy(q, 0.1), learn))
    return Evidence(largest(r.error for r in results), 1e-11, results[0].seen + "; all and visited pairs")


def loop_tabular(rng):
    """SARSA, Expected SARSA and Q-learning on tables against loops over transitions."""
    results = []
    for kind in ("sarsa", "expected-sarsa", "q-learning"):
        step = float(rng.uniform(0.1, 1))

        def learn(process, q, roll, kind=kind, step=step):
            policy, q = shared_greedy(q, 0.1), q.copy()
            for k, reward in enumerate(roll.rewards):
                s, a, t, b = roll.states[k], roll.actions[k], roll.states[k + 1], roll.actions[k + 1]
                ahead = {"sarsa": q[t, b], "expected-sarsa": policy[t] @ q[t], "q-learning": q[t].max()}
                following = 0 if roll.ended[k] else process.discount * ahead[kind]
                q[s, a] = (1 - step) * q[s, a] + step * (reward + following)
            return q

        results.append(compare(rng, Tabular(kind, step), lambda q: shared_greedy(q, 0.1), learn))
    return Evidence(largest(r.error for r in results), 1e-11, results[0].seen + "; 3 kinds")


def oracle(rng):
    """Policy iteration against value iteration on Gymnasium's tasks, in units of the error bound."""
    excess, iterations = [], 150
    for name, options in TASKS:
        process = from_gymnasium(name, float(rng.uniform(0.7, 0.9)), **options)
        exact, iterated = process.optimal_q(), process.value_iteration(iterations)
        bound = process.discount**iterations * np.abs(exact).max() + 1e-12 * np.abs(exact).max()
        excess.append(np.abs(exact - iterated).max() / bound - 1)
    # Where every reward is 1 the bound is attained, backup by backup.
    transition, gamma = rng.dirichlet(np.ones(5), (5, 3)), float(rng.uniform(0.7, 0.9))
    process = MarkovDecisionProcess(transition, np.ones((5, 3)), gamma)
    for k in (1, 10, 20):
        off = np.abs(process.optimal_q() - process.value_iteration(k)).max()
        excess.append(abs(off * (1 - gamma) / gamma**k - 1) - 1e-9)
    return Evidence(max(0.0, largest(excess)), 0.0, f"5 tasks, {iterations} backups; one that attains it")


def success(rng):
    """Gymnasium's own episodes: how often a policy that is right three times in ten arrived, and the score.

    Not one that never is: its few arrivals of 1500 would be Poisson, whose far tail is no Gaussian's.
    """
    errors, episodes = [], 1500
    for name, options in TASKS[:2]:
        process, task = from_gymnasium(name, 0.95, **options), gymnasium.make(name, **options)
        policy = rng.dirichlet(np.ones(process.num_actions), process.num_states)
        policy = 0.3 * optimal([process])[0] + 0.7 * policy
        exact = float(score([process], policy[None], 30).success[0])
        cumulative, reached = policy.cumsum(axis=1), 0
        s, _ = task.reset(seed=int(rng.integers(2**31)))
        for _ in range(episodes):
            for u in rng.random(30):
                s, reward, terminated, _, _ = task.step(min(int((cumulative[s] <= u).sum()), 3))
                reached += reward == 1
                if terminated:
                    break
            s, _ = task.reset()
        task.close()
        deviation = np.sqrt(max(exact * (1 - exact), 1 / episodes) / episodes)
        errors.append(abs(reached / episodes - exact) / deviation)
    # The optimum of the sure-footed lake takes six steps: the horizon to the step.
    lake = from_gymnasium(TASKS[0][0], 0.95, **TASKS[0][1])
    found = [float(score([lake], optimal([lake]), horizon).success[0]) for horizon in (5, 6)]
    error = largest(errors) if np.abs(np.subtract(found, [0, 1])).max() < 1e-12 else np.inf
    return Evidence(error, 4.5, f"2 tasks, {episodes} episodes of at most 30 steps each")


def first_reward(rng):
    """Simulated waiting times for a reward under random policies, against the linear solve.

    What pays ends the episode, so that from one reward to the next is as long as to the first: of each run
    so many waits are taken as it surely has. Waits are skewed, and a mean needs many to be Gaussian.
    """
    errors, seen = [], []
    for name, options in TASKS[:2]:
        process = from_gymnasium(name, 0.95, **options)
        policy = 0.8 * optimal([process])[0] + 0.2 * rng.dirichlet(np.ones(4), 16)
        runs, n = 300, 3000
        roll = rollout_batch([process] * runs, np.repeat(policy[None], runs, 0), n, rng)
        exact = first_reward_time(process, policy)
        each = max(1, int(n / exact / 8)) if exact > 0 else 1
        paid = [np.flatnonzero(rewards)[:each] for rewards in roll.rewards]
        short = min(len(steps) for steps in paid) < each  # a run without its waits would fail the claim
        times = np.concatenate([np.diff(steps, prepend=-1) for steps in paid])
        z = abs(times.mean() - exact) / (times.std() / np.sqrt(len(times)))
        errors.append(np.inf if short else z)
        seen.append(len(times))
    return Evidence(largest(errors), 4.5, f"2 lakes, {seen[0]} and {seen[1]} waits in 300 runs of 3000 steps")


def gauge(rng):
    """A block moved along what the training tasks cannot see, with its gauge set, is the construction."""
    errors = []
    for d in (3, 5, 8):
        gamma, scale = float(rng.uniform(0.2, 0.95)), float(rng.uniform(0.5, 2) * rng.choice([-1, 1]))
        P, V = moved_block(d, gamma, scale, rng)
        for x, y in zip(regauge(P, V, gamma), sarsa_weights(d, 1.0, scale), strict=True):
            errors.append(relative_error(x.numpy(), y.numpy()))
    return Evidence(largest(errors), 1e-12, "d = 3, 5, 8; random directions and scales")


def moved_block(d, gamma, scale, rng):
    """The construction plus ``b z'`` and ``z eta'``."""
    P, V = sarsa_weights(d, 1.0, scale)
    m = 2 * d + 1
    z = torch.tensor([gamma] * d + [-1.0] * d + [0.0], dtype=torch.float64)
    P[:m, m:] += torch.outer(z, torch.from_numpy(rng.normal(size=d + 1)))
    V[m + 1 :, :m] += torch.outer(torch.from_numpy(rng.normal(size=d)), z)
    return P, V


def misses(rng, ended, gamma):
    """How far a moved block, trained at 0.9, is from SARSA in a window, in units of SARSA's step."""
    d, n = 6, 12
    block = LinearTransformer(*moved_block(d, 0.9, 1.0, rng))
    w, rewards, pairs = rng.normal(size=d), rng.normal(size=n), rng.integers(d, size=n + 1)
    one_hot = np.eye(d)[pairs]
    alive = np.ones((n, 1))
    alive[n // 2] = not ended
    given = w, one_hot[:-1], one_hot[1:] * alive, rewards, gamma
    step = sarsa_update(*given, 1.0)
    wrong = np.abs(block.readout(sarsa_prompt(*given)).numpy() - step).max()
    return wrong / np.abs(step - w).max()


def gauge_matters(rng):
    """Unset, the same block serves its own discount, and neither an end (but in one of 25) nor another."""
    own = largest(misses(rng, False, 0.9) for _ in range(10))
    other = min(np.median([misses(rng, *case) for _ in range(20)]) for case in ((True, 0.9), (False, 0.5)))
    error = max(0.0, 0.1 - other) if own < 1e-11 else np.inf
    return Evidence(error, 0.0, f"own setting {own:.0e}; median miss elsewhere {other:.1f} of a step")


def raised_rewards(rng):
    """All pairs queried, no ends: the loop on raised rewards chooses the same policies."""
    different = 0.0
    for _ in range(4):
        process = random_mdp(6, 3, float(rng.uniform(0.3, 0.9)), rng)
        other = raised(process, float(rng.uniform(-2, 2)))
        seed, updater = int(rng.integers(2**31)), SoftmaxPairs(4, 3.0, 0.3, "all")
        runs = [control([p], updater, range(26), np.random.default_rng(seed)) for p in (process, other)]
        different = max(different, np.abs(runs[0].policies - runs[1].policies).max())
    return Evidence(different, 0.0, "4 processes, 25 windows: largest difference of policies")


def one_window(rng):
    """Rewards raised by c, values by kappa: how far the two updates move, against the closed forms."""
    errors = []
    for _ in range(10):
        size, n, gamma, c, kappa = 5, 12, float(rng.uniform(0, 0.9)), *rng.normal(size=2)
        more, (alpha, beta) = c - (1 - gamma) * kappa, rng.uniform(0.1, 2, 2).tolist()
        columns = np.eye(size)[rng.integers(size, size=n + 1)]
        w, rewards, scores = rng.normal(size=size), rng.normal(size=n), rng.normal(size=(n, 3))
        window = columns[:-1], columns[1:]
        old = actor_critic_update(w, np.zeros(3), *window, rewards, scores, gamma, alpha, beta)
        new = actor_critic_update(w + kappa, np.zeros(3), *window, rewards + c, scores, gamma, alpha, beta)
        visits = columns[:-1].sum(axis=0)
        errors.append(relative_error(new[0] - kappa - old[0], alpha * more * visits / n))
        errors.append(relative_error(new[1] - old[1], beta * more / n * scores.sum(axis=0)))
        old = sarsa_update(w, *window, rewards, gamma, alpha)
        new = sarsa_update(w + kappa, *window, rewards + c, gamma, alpha)
        errors.append(relative_error(new - kappa - old, alpha * more * visits / n))
    return Evidence(largest(errors), 1e-12, "10 windows, actor-critic and SARSA")


def lost_gap(rng):
    """CliffWalking: never reaching the goal, yet a share of the gap that looks like success."""
    process = from_gymnasium("CliffWalking-v1", float(rng.uniform(0.3, 0.99)))
    still = np.zeros((48, 4))
    still[:, 3] = 1  # always left: against the wall, for ever
    found = score([process], still[None], 200)
    error = max(0.0, 0.9 - found.share[0]) if found.success[0] == 0 else np.inf
    return Evidence(error, 0.0, f"share {found.share[0]:.3f}, success {found.success[0]:g}")


def claim(name, statement, kind, section, check, source="ours", risk=0.0):
    """A claim of this chapter."""
    return Claim(name, source, statement, kind, CHAPTER + section, check, risk)


CLAIMS = Claims(
    claim(
        "control-loop-sarsa",
        "The control loop over the constructed block is SARSA's loop, window by window, in every world.",
        "identity",
        "loop",
        loop_sarsa,
        "ours, from Liang and Lai (2026), Theorem 3.1",
    ),
    claim(
        "control-loop-actor-critic",
        "The control loop over the constructed actor-critic block is actor-critic's loop, in every world.",
        "identity",
        "loop",
        loop_actor_critic,
        "ours, from Liang and Lai (2026), Theorem 3.3",
    ),
    claim(
        "control-loop-softmax",
        "The control loop over the softmax transformer, warm-started and cut at episode ends, is that of "
        "weighted softmax TD on the table of pairs.",
        "identity",
        "loop",
        loop_softmax,
        "ours, from Xie et al. (2026), Theorem 1",
    ),
    claim(
        "control-loop-tabular",
        "The loop over SARSA, Expected SARSA and Q-learning on tables is that of their plain updates, "
        "transition by transition, with the policy of the window's start.",
        "identity",
        "loop",
        loop_tabular,
    ),
    claim(
        "oracle-on-gymnasium",
        r"Policy iteration and $k$ steps of value iteration from zero differ by at most "
        r"$\gamma^k\max|q^*|$ on Gymnasium's tasks, and by that where all rewards are equal.".replace(
            "|", r"\vert "
        ),
        "bound",
        "score",
        oracle,
    ),
    claim(
        "exact-success",
        "The exact success rate is the rate in Gymnasium's own episodes.",
        "interval",
        "score",
        success,
        risk=3e-5,
    ),
    claim(
        "first-reward-time",
        "The mean time to the first reward is the solution of a linear system.",
        "interval",
        "fails",
        first_reward,
        risk=4e-5,
    ),
    claim(
        "raised-rewards",
        "With all pairs queried and no episode ends, raising every reward leaves the softmax loop's policies "
        "as they are.",
        "identity",
        "random",
        raised_rewards,
    ),
    claim(
        "raised-one-window",
        r"In one window in which no episode ends, raising rewards by $c$ and values by $\kappa$ moves a "
        r"value by $\alpha\kappa'n_z/n$, the actor by "
        r"$\frac{\beta\kappa'}n\sum_ig_i$, with $\kappa'=c-(1-\gamma)\kappa$.",
        "identity",
        "random",
        one_window,
    ),
    claim(
        "gauge",
        r"A block moved by $bz^\top$ and $z\eta^\top$, its gauge set, is the construction.",
        "identity",
        "gauge",
        gauge,
    ),
    claim(
        "gauge-matters",
        "Without that, the moved block misses SARSA where an episode ends or the discount is another.",
        "control",
        "gauge",
        gauge_matters,
        risk=1e-7,
    ),
    claim(
        "lost-gap",
        "On CliffWalking, at discounts to 0.99, a policy that never arrives closes nine tenths of the gap.",
        "control",
        "fails",
        lost_gap,
    ),
)
