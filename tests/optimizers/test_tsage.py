"""T-SAGE against worked numbers and its definition, in both forms."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from optimizer_cases import examples, random_gradients, steps_of
from torch import Tensor

from mtbench.errors import ConfigError
from optimizers.naive import Naive
from optimizers.tsage import TSage, memory_size

FORMS = ["fused", "stream"]


@pytest.fixture(autouse=True)
def same_numbers() -> None:
    torch.manual_seed(0)


def started(theta: Tensor, num_tasks: int, total_steps: int = 1, **params: Any) -> TSage:
    opt = TSage(**{"burn_in": 0.0, "implementation": "fused", **params})
    opt.start(theta, num_tasks, total_steps)
    return opt


def definition(
    theta: Tensor, rows: list[Tensor], beta: float, tau: float, burn_in: int = 0
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """(I, U, update) of each step: Algorithm 1 on whole K x d blocks, written without looking at the implementation."""
    average = torch.zeros_like(rows[0])
    for step, gradients in enumerate(rows):
        sensitivity = (theta * gradients).abs()
        median = sensitivity.median(dim=1, keepdim=True).values
        average = beta * average + (1 - beta) * sensitivity / median
        shares = torch.softmax(average / tau, 0)
        if step < burn_in:
            shares = torch.full_like(average, 1 / len(average))
        yield average, shares, (shares * gradients).sum(0)


@pytest.mark.parametrize("form", FORMS)
def test_worked_example_of_one_step(form: str, specs: Any) -> None:
    case = examples(specs)["tsage_1"]
    inputs, expected = case["inputs"], case["expected"]
    theta, gradients = inputs["theta"], inputs["G"]
    for options, key in [
        ({}, "update_paper"),
        ({"scale": "sum"}, "update_times_K"),
        ({"compat": "taco"}, "update_taco_code"),
    ]:
        opt = started(theta, 3, beta=0.9, tau=0.5, implementation=form, **options)
        torch.testing.assert_close(opt.combine(gradients, inputs["losses"]), expected[key], rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(torch.stack(opt.sensitivities), expected["I"], rtol=1e-9, atol=1e-12)
        assert opt.report()["medians"] == pytest.approx(expected["median"].tolist(), rel=1e-12)
        assert opt.report()["weights"] == pytest.approx(expected["U"].mean(1).tolist(), rel=1e-9)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("compat", ["none", "taco"])
def test_worked_example_with_burn_in(form: str, compat: str, specs: Any) -> None:
    case = examples(specs)["tsage_2"]
    opt = started(case["inputs"]["theta"], 3, 20, beta=0.9, tau=0.5, burn_in=0.1, implementation=form, compat=compat)
    key = "update_taco_code" if compat == "taco" else "update_default"
    for gradients, expected in zip(case["inputs"]["G_seq"], case["expected"]["steps"], strict=True):
        update = opt.combine(gradients, torch.ones(3))
        torch.testing.assert_close(update, expected[key], rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(torch.stack(opt.sensitivities), expected["I"], rtol=1e-9, atol=1e-12)
        if expected["burn_in"]:
            assert opt.report()["weights"] == pytest.approx([1 / 3] * 3)


@pytest.mark.parametrize("form", FORMS)
def test_bias_correction_divides_the_average(form: str, specs: Any) -> None:
    case = examples(specs)["tsage_7"]
    opt = started(case["inputs"]["theta"], 3, beta=0.9, tau=0.5, bias_correction=True, implementation=form)
    for gradients in case["inputs"]["G_seq"]:
        update = opt.combine(gradients, torch.ones(3))
    torch.testing.assert_close(torch.stack(opt.sensitivities), case["expected"]["I_algorithm1"], rtol=1e-9, atol=0)
    shares = torch.softmax(case["expected"]["I_bias_corrected"] / 0.5, dim=0)
    torch.testing.assert_close(update, (shares * case["inputs"]["G_seq"][-1]).sum(0), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("tau", [2.0, 0.05, -1.0])
def test_every_form_is_the_definition(form: str, tau: float) -> None:
    theta = torch.randn(70_001, dtype=torch.float64)  # several chunks, the last one short
    rows = [random_gradients(4, theta.numel(), seed) for seed in range(5)]
    opt = started(theta, 4, beta=0.8, tau=tau, implementation=form)
    for gradients, (average, _, update) in zip(rows, definition(theta, rows, 0.8, tau), strict=True):
        torch.testing.assert_close(opt.combine(gradients, torch.ones(4)), update, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(torch.stack(opt.sensitivities), average, rtol=1e-9, atol=0)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 1, 0, 2)])
def test_task_by_task_it_is_the_definition_in_any_order(form: str, order: tuple[int, ...]) -> None:
    theta = torch.randn(40_000, dtype=torch.float64)
    rows = [random_gradients(4, theta.numel(), seed) for seed in range(4)]
    opt = started(theta, 4, total_steps=4, burn_in=0.25, implementation=form)
    flat = torch.empty_like(theta)
    expected = definition(theta, rows, opt.beta, opt.tau, burn_in=1)
    for step, (gradients, (_, shares, update)) in enumerate(zip(rows, expected, strict=True)):
        opt.begin_step(step)
        for k in order:
            flat.copy_(gradients[k])  # one buffer for all tasks, as the training loop has it
            opt.task(k, flat, 1.0)
        assert opt.finish(flat)
        torch.testing.assert_close(flat, update, rtol=1e-9, atol=1e-12)
        assert opt.report()["weights"] == pytest.approx(shares.mean(1).tolist(), rel=1e-9)


@pytest.mark.parametrize("form", FORMS)
def test_huge_temperature_is_naive_and_a_negative_one_discourages(form: str) -> None:
    theta = torch.ones(101, dtype=torch.float64)
    gradients = random_gradients(3, 101, 0)
    naive = Naive()
    naive.start(theta, 3, 1)
    mean = naive.combine(gradients, torch.ones(3))
    update = {
        t: started(theta, 3, tau=t, beta=0.5, implementation=form).combine(gradients, torch.ones(3))
        for t in (1e12, 1.0, -1.0)
    }
    torch.testing.assert_close(update[1e12], mean, rtol=1e-9, atol=1e-12)
    top = (theta * gradients).abs().div((theta * gradients).abs().median(1, keepdim=True).values).argmax(0)
    strongest = gradients.gather(0, top[None])[0]
    toward = ((update[1.0] - mean) * (strongest - mean)).sum()
    away = ((update[-1.0] - mean) * (strongest - mean)).sum()
    assert toward > 0 > away


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("factor", [1e-10, 1e-5, 1e15])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_scaling_all_gradients_changes_nothing_else(form: str, factor: float, dtype: torch.dtype) -> None:
    theta = torch.randn(999, dtype=dtype)
    plain, scaled = (started(theta, 3, tau=0.1, beta=0.5, implementation=form) for _ in range(2))
    for seed in range(3):
        gradients = random_gradients(3, 999, seed).to(dtype)
        expected = plain.combine(gradients, torch.ones(3))
        got = scaled.combine(gradients * factor, torch.ones(3)) / factor
        torch.testing.assert_close(got, expected, rtol=0, atol=3e-5 if dtype == torch.float32 else 1e-9)


@pytest.mark.parametrize("form", FORMS)
def test_median_zero_falls_back_to_the_nonzero_entries(form: str) -> None:
    theta = torch.ones(9, dtype=torch.float64)
    gradients = torch.zeros(3, 9, dtype=torch.float64)
    gradients[0, :4] = torch.tensor([1.0, 2.0, 3.0, 4.0])  # 5 of 9 are zero: the median of the others is 2
    gradients[1] = torch.arange(1.0, 10.0)  # median 5; gradients[2] is zero everywhere
    opt = started(theta, 3, beta=0.0, implementation=form)
    update = opt.combine(gradients, torch.ones(3))
    assert torch.isfinite(update).all()
    assert opt.report()["zero_medians"] == 2
    assert opt.report()["medians"] == [2.0, 5.0, 0.0]
    torch.testing.assert_close(opt.sensitivities[0][:4], torch.tensor([0.5, 1.0, 1.5, 2.0], dtype=torch.float64))
    assert not opt.sensitivities[2].any()


@pytest.mark.parametrize("form", FORMS)
def test_median_over_nonzero(form: str) -> None:
    theta = torch.ones(8, dtype=torch.float64)
    gradients = torch.tensor([[0.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]] * 2, dtype=torch.float64)
    for over, median in [("all", 2.0), ("nonzero", 3.0)]:
        opt = started(theta, 2, median_over=over, implementation=form)
        opt.combine(gradients, torch.ones(2))
        assert opt.report()["medians"] == [median, median]
        assert opt.report()["zero_medians"] == opt.report()["guarded_medians"] == 0


def with_zeros(share: float, size: int = 20_000) -> Tensor:
    """A heavy-tailed gradient of which this share is 0."""
    gradient = torch.randn(size, dtype=torch.float64) * torch.randn(size, dtype=torch.float64).exp()
    gradient[: round(share * size)] = 0
    return gradient[torch.randperm(size)]


@pytest.mark.parametrize("form", FORMS)
def test_just_under_half_zeros_no_sensitivity_explodes(form: str) -> None:
    """The plain median is the smallest of the others there, a thousandth of what it is a little further on."""
    theta = torch.ones(20_000, dtype=torch.float64)
    shares = [0.24, 0.26, 0.45, 0.49, 0.4956, 0.49995, 0.5, 0.51, 0.7]
    torch.manual_seed(1)
    gradients = torch.stack([with_zeros(share) for share in shares])
    opt = started(theta, len(shares), beta=0.0, implementation=form)
    update = opt.combine(gradients, torch.ones(len(shares)))
    report = opt.report()
    assert report["guarded_medians"] == 8 and report["zero_medians"] == 3
    plain = [float(g.abs().median()) for g in gradients]
    over_others = [float(g[g != 0].abs().median()) for g in gradients]
    assert report["medians"][0] == plain[0]
    assert plain[5] < over_others[5] / 1000 and report["medians"][5] == pytest.approx(over_others[5], rel=0.05)
    assert report["medians"][6:] == pytest.approx(over_others[6:], rel=1e-12)
    by_others = torch.stack([g.abs().mean() / m for g, m in zip(gradients, over_others, strict=True)])
    ratios = torch.stack(opt.sensitivities).mean(1) / by_others
    assert (ratios < 2.5).all() and (ratios > 0.99).all()
    assert torch.isfinite(update).all()


def test_the_compiled_pass_divides_by_the_same_guarded_median(monkeypatch: pytest.MonkeyPatch) -> None:
    """What :func:`fast_median` brackets and counts is the entry that the histograms find."""
    from mtbench.optim import compiled, medians

    monkeypatch.setattr(medians, "PIECE", 6400)
    monkeypatch.setattr(compiled, "WORTHWHILE", 6400)
    monkeypatch.setattr(compiled, "_compile", lambda function: function)
    exact = medians.exact_median
    for share in (0.1, 0.249, 0.251, 0.3, 0.42, 0.4956, 0.4999, 0.5, 0.6):
        gradient = with_zeros(share).float()
        theta = torch.randn(20_000)
        wanted = exact(theta, gradient, over="guarded")
        monkeypatch.setattr(medians, "exact_median", lambda *a, **k: pytest.fail("the bracket missed"))
        found = medians.fast_median(theta, gradient, over="guarded")
        assert (found.value, found.is_zero, found.guarded) == (wanted.value, wanted.is_zero, wanted.guarded)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("over", ["all", "nonzero"])
@pytest.mark.parametrize("normalize", ["mean", "none"])
def test_other_normalisers_are_what_they_say(form: str, normalize: str, over: str) -> None:
    theta = torch.randn(20_000, dtype=torch.float64)
    gradients = torch.stack([with_zeros(share) * 10**k for k, share in enumerate([0.0, 0.3, 0.6])])
    gradients = torch.cat([gradients, torch.zeros(1, 20_000, dtype=torch.float64)])
    opt = started(theta, 4, beta=0.5, tau=1e3, normalize=normalize, median_over=over, implementation=form)
    update = opt.combine(gradients, torch.ones(4))
    sensitivities = (theta * gradients).abs()
    counts = torch.full((4,), 20_000) if over == "all" else (sensitivities > 0).sum(1)
    means = sensitivities.sum(1) / counts.clamp(min=1) if normalize == "mean" else torch.ones(4, dtype=torch.float64)
    assert opt.report()["medians"] == pytest.approx(means.tolist(), rel=1e-12)
    average = sensitivities / means.where(means > 0, torch.inf)[:, None] / 2
    torch.testing.assert_close(torch.stack(opt.sensitivities), average, rtol=1e-12, atol=0)
    shares = torch.softmax(average / 1e3, 0)
    torch.testing.assert_close(update, (shares * gradients).sum(0), rtol=1e-9, atol=1e-12)
    assert opt.report()["guarded_medians"] == opt.report()["zero_medians"] == 0


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("normalize", ["mean", "none"])
def test_other_normalisers_see_what_is_not_finite(form: str, normalize: str) -> None:
    opt = started(torch.ones(50, dtype=torch.float64), 2, normalize=normalize, implementation=form)
    gradients = random_gradients(2, 50, 1)
    gradients[1, 7] = torch.nan
    assert not opt.combine(gradients, torch.ones(2)).any() and opt.skipped_steps == 1


def test_a_mean_too_small_for_its_type_still_divides() -> None:
    theta = torch.ones(1000)
    gradients = torch.zeros(2, 1000)
    gradients[:, 3] = torch.tensor([1e-37, 1.0])
    opt = started(theta, 2, beta=0.0, normalize="mean")
    assert opt.combine(gradients, torch.ones(2))[3] > 0.5 - 1e-6
    assert opt.sensitivities[0][3] > 0 and torch.isfinite(torch.stack(opt.sensitivities)).all()


@pytest.mark.parametrize("form", FORMS)
def test_the_report_has_the_temperature_that_acts(form: str) -> None:
    theta, gradients = torch.randn(50), random_gradients(2, 50, 0).float()
    for beta, bias_correction in [(0.9, False), (0.9, True), (0.0, False)]:
        opt = started(theta, 2, 5, beta=beta, bias_correction=bias_correction, implementation=form)
        for n in range(1, 4):
            opt.combine(gradients, torch.ones(2))
            expected = 2.0 if bias_correction else 2.0 / (1 - beta**n)
            assert opt.report()["temperature"] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("form", FORMS)
def test_extreme_sensitivities_stay_finite(form: str) -> None:
    theta = torch.ones(5)
    gradients = torch.tensor([[1e-38, 1e-38, 1e-38, 1e30, 0.0], [1.0, 1e-30, 1e-42, 1e-43, 1e-44]])
    opt = started(theta, 2, tau=1e-3, beta=0.0, implementation=form)
    for _ in range(3):
        update = opt.combine(gradients, torch.ones(2))
        assert torch.isfinite(update).all()
        assert torch.isfinite(torch.stack(opt.sensitivities)).all()
    assert update[3] == 1e30  # task 0 owns it


@pytest.mark.parametrize("form", FORMS)
def test_a_missing_task_stays_out_and_keeps_its_state(form: str) -> None:
    theta = torch.randn(50, dtype=torch.float64)
    gradients = random_gradients(3, 50, 1)
    opt = started(theta, 3, tau=0.2, beta=0.5, implementation=form)
    opt.combine(gradients, torch.ones(3))
    before = opt.sensitivities[1].clone()
    out = torch.empty(50, dtype=torch.float64)
    steps_of(opt, 1, {2: gradients[2], 0: gradients[0]}, out)
    assert torch.equal(opt.sensitivities[1], before) and opt.updates == [2, 1, 2]
    shares = torch.softmax(torch.stack([opt.sensitivities[0], opt.sensitivities[2]]) / 0.2, 0)
    torch.testing.assert_close(out, shares[0] * gradients[0] + shares[1] * gradients[2], rtol=1e-9, atol=1e-12)
    assert opt.report()["weights"][1] == 0.0 and sum(opt.report()["weights"]) == pytest.approx(1.0)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_gradient_that_is_not_finite_skips_the_step(form: str, bad: float) -> None:
    theta = torch.randn(50, dtype=torch.float64)
    gradients = random_gradients(3, 50, 1)
    opt = started(theta, 3, implementation=form)
    opt.combine(gradients, torch.ones(3))
    before = [i.clone() for i in opt.sensitivities]
    broken = gradients.clone()
    broken[1, 7] = bad
    assert not opt.combine(broken, torch.ones(3)).any()
    assert opt.skipped_steps == 1
    # the tasks after the broken one, and the broken one, are as before; in stream the earlier one has moved, soundly
    assert [torch.equal(a, b) for a, b in zip(opt.sensitivities, before, strict=True)] == [form != "stream", True, True]
    assert torch.isfinite(torch.stack(opt.sensitivities)).all()
    assert torch.isfinite(opt.combine(gradients, torch.ones(3))).all()


REMOVED = [("implementation", "dense"), ("median", "sampled")]
REMOVED += [("state_dtype", dtype) for dtype in ("float64", "float32", "float16", "bfloat16")]


@pytest.mark.parametrize(("field", "value"), REMOVED)
def test_variants_of_earlier_versions_are_the_default_and_say_so(field: str, value: str) -> None:
    theta, gradients = torch.randn(500), random_gradients(3, 500, 0).float()
    with pytest.warns(FutureWarning, match=f"tsage: {field}={value} is no longer a variant") as told:
        old = TSage(burn_in=0.0, **{field: value})  # type: ignore[arg-type]
    assert len(told) == 1 and old.params[field] == value
    new = TSage(burn_in=0.0)
    for opt in (old, new):
        opt.start(theta, 3, 4)
    for _ in range(3):
        assert torch.equal(old.combine(gradients, torch.ones(3)), new.combine(gradients, torch.ones(3)))
    assert old.state_bytes() == new.state_bytes()


def test_a_state_of_sixteen_bits_goes_on_in_thirty_two() -> None:
    theta, gradients = torch.randn(500), random_gradients(2, 500, 0).float()
    first = started(theta, 2, 4)
    first.combine(gradients, torch.ones(2))
    state = first.state_dict()
    state["state"]["sensitivities"] = [i.bfloat16() for i in state["state"]["sensitivities"]]
    for late in (True, False):
        opt = TSage(reset_on_episode=False)
        if not late:
            opt.load_state_dict(state)
        opt.start(theta, 2, 4)
        if late:
            opt.load_state_dict(state)
        assert {i.dtype for i in opt.sensitivities} == {torch.float32} and opt.sensitivities[0].any()


@pytest.mark.parametrize("form", FORMS)
def test_resume_in_the_middle_is_bit_exact(form: str) -> None:
    theta = torch.randn(500)
    rows = [random_gradients(3, 500, seed).float() for seed in range(6)]
    first, second = (started(theta, 3, 6, burn_in=0.3, implementation=form) for _ in range(2))
    for gradients in rows[:3]:
        first.combine(gradients, torch.ones(3))
    second.load_state_dict(first.state_dict())
    for gradients in rows[3:]:
        expected = first.combine(gradients, torch.ones(3))
        assert torch.equal(second.combine(gradients, torch.ones(3)), expected)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("zeros", "normalize"), [(0, "median"), (1200, "median"), (1900, "median"), (1900, "mean")])
def test_shards_give_what_the_whole_gives(form: str, zeros: int, normalize: str) -> None:
    """Two ranks with half of the coordinates each, run in lock step by adding their integer counts. Where there are
    zeros they are on the first, which alone would take another median."""
    theta, gradients = torch.randn(4001, dtype=torch.float64), random_gradients(2, 4001, 3)
    gradients[:, :zeros] = 0
    whole = started(theta, 2, implementation=form, normalize=normalize)
    expected = whole.combine(gradients, torch.ones(2))
    cuts = [slice(0, 1500), slice(1500, 4001)]
    recorded: list[list[Tensor]] = [[], []]
    for round_ in range(12):  # each run learns one more of the sums; the last one knows all of them
        for rank, cut in enumerate(cuts):
            calls = iter(range(10_000))
            mine: list[Tensor] = []

            def reduce(value: Tensor, rank: int = rank, calls: Any = calls, mine: list[Tensor] = mine) -> Tensor:
                number = next(calls)
                mine.append(value.clone())
                others = recorded[1 - rank]
                return value + others[number] if number < len(others) else value

            opt = TSage(burn_in=0.0, implementation=form, normalize=normalize)
            opt.reduce_sum = reduce
            opt.start(theta[cut], 2, 1)
            update = opt.combine(gradients[:, cut], torch.ones(2))
            recorded[rank] = mine
            if round_ == 11:
                torch.testing.assert_close(update, expected[cut], rtol=1e-12, atol=1e-12)
                assert opt.report()["guarded_medians"] == (2 if zeros and normalize == "median" else 0)


def test_streaming_keeps_no_gradient_rows() -> None:
    theta = torch.randn(1000)
    opt = started(theta, 8, implementation="stream")
    opt.combine(torch.randn(8, 1000), torch.ones(8))
    kept = {id(v.untyped_storage()): v.untyped_storage().nbytes() for v in tensors_in(vars(opt))}
    assert sum(kept.values()) <= (8 + 3 + 1) * 1000 * 4 + 1000  # averages, three vectors of scratch, theta, scalars


def tensors_in(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for v in value.values():
            yield from tensors_in(v)
    elif isinstance(value, list | tuple):
        for v in value:
            yield from tensors_in(v)
    elif hasattr(value, "__dict__"):
        yield from tensors_in(vars(value))


def test_halving_schedule_follows_the_episode() -> None:
    theta = torch.randn(10)
    for episode, tau in [(0, 64.0), (4, 4.0), (7, 0.5)]:
        for sign in (1.0, -1.0):
            opt = TSage(tau=2.0 * sign, tau_schedule="halving", burn_in=0.0)
            opt.start(theta, 2, 1, episode=episode)
            opt.combine(torch.randn(2, 10), torch.ones(2))
            assert opt.report()["tau"] == tau * sign


def test_halving_counts_from_the_first_episode_in_which_the_method_acts() -> None:
    """The paper's 64, 32, 16, 8, of a method that acts from the fourth of seven episodes on."""
    found = []
    for episode in (4, 5, 6, 7):
        opt = TSage(tau_schedule="halving", burn_in=0.0)
        opt.first_episode = 4
        opt.start(torch.randn(10), 2, 1, episode=episode)
        opt.combine(torch.randn(2, 10), torch.ones(2))
        found.append(opt.report()["tau"])
    assert found == [64.0, 32.0, 16.0, 8.0]


def test_episodes_reset_or_carry_the_state() -> None:
    theta = torch.randn(10)
    for reset in (True, False):
        opt = started(theta, 2, reset_on_episode=reset)
        opt.combine(torch.randn(2, 10), torch.ones(2))
        opt.start(theta, 2, 1, episode=1)
        assert bool(opt.sensitivities[0].any()) is not reset
    with pytest.raises(ConfigError, match="other tasks or another model"):
        opt.start(theta, 3, 1, episode=2)


def test_auto_streams_where_memory_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    import optimizers.tsage as module

    theta = torch.zeros(1000)
    for size, form in [(2 * 2 * 4 * 8000, "fused"), (2 * 2 * 4 * 8000 - 1, "stream")]:
        monkeypatch.setattr(module, "memory_size", lambda device, size=size: size)
        assert started(theta, 8, implementation="auto")._form == form
    assert memory_size(torch.device("cpu")) > 1 << 20


@pytest.mark.parametrize(
    "params",
    [{"tau": 0.0}, {"beta": 1.0}, {"beta": -0.1}, {"burn_in": 1.0}, {"median_over": "some"}, {"tau": float("nan")}],
)
def test_bad_hyperparameters_are_refused(params: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(params))):
        TSage(**params)


def test_the_committed_share_counts_the_coordinates_that_one_task_owns() -> None:
    theta = torch.ones(3, dtype=torch.float64)
    gradients = torch.tensor([[100.0, 1.0, 1.0], [1.0, 1.0, 1.0]], dtype=torch.float64)
    opt = started(theta, 2, beta=0.0, tau=1.0)
    opt.combine(gradients, torch.ones(2))
    assert opt.report()["committed_share"] == pytest.approx(1 / 3)
