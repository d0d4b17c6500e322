"""The contrastive term: what is compared with what, and what that costs."""

import math
from types import SimpleNamespace

import pytest
import torch
from ignite.engine import Engine, Events
from syncas.contrastive import ContrastiveModel, TwoViews, contrast
from syncas.handlers import LateNegatives, LossTerms
from syncas.heads import ProjectionHeads
from syncas.losses import SynCASLoss
from syncas.network import SynCASNet
from syncas.sampling import draw_voxels, shrink_branches
from torch import nn


def unit(axis, *shape):
    vectors = torch.zeros(*shape, 128)
    vectors[..., axis] = 1
    return vectors


def at_cosine(cosine, *shape):
    return cosine * unit(0, *shape) + math.sqrt(1 - cosine**2) * unit(2, *shape)


@pytest.mark.parametrize("cosine", [-1.0, 0.0, 0.5, 1.0])
@pytest.mark.parametrize("factor", [1, 2], ids=["early", "late"])
@pytest.mark.parametrize("alpha", [0.0, 0.5, 0.9])
def test_orthogonal_background_gives_the_closed_form(cosine, factor, alpha):
    value = contrast(unit(0, 512), unit(0, 512), unit(1, 512, 5 * factor), at_cosine(cosine, 512, factor), alpha=alpha)
    expected = math.log1p((5 * factor + factor * math.exp(alpha * cosine / 0.3)) / math.exp(1 / 0.3))
    assert value.item() == pytest.approx(expected, abs=1e-5)


def test_published_values_of_the_loss_are_met():
    anchors, background = unit(0, 512), unit(1, 512, 10)
    assert contrast(anchors, anchors, background[:, :5], at_cosine(1, 512, 1)).item() == pytest.approx(
        0.312798, abs=1e-5
    )
    assert contrast(anchors, anchors, background, at_cosine(1, 512, 2)).item() == pytest.approx(0.550714, abs=1e-5)
    assert contrast(anchors, anchors, background[:, :5]).item() == pytest.approx(0.164132, abs=1e-5)


def test_a_pseudo_negative_of_weight_zero_is_left_out_but_one_of_scale_zero_counts():
    anchors, background, pseudo = unit(0, 8), unit(1, 8, 5), at_cosine(0.7, 8, 1)
    without = contrast(anchors, anchors, background)
    assert contrast(anchors, anchors, background, pseudo, alpha=0.0, pseudo_mode="weight") == without
    assert contrast(anchors, anchors, background, pseudo, alpha=0.0, pseudo_mode="scale") > without


def test_a_pseudo_negative_of_weight_one_is_a_full_negative():
    anchors, background, pseudo = unit(0, 8), unit(1, 8, 5), at_cosine(0.7, 8, 1)
    as_negative = contrast(anchors, anchors, torch.cat([background, pseudo], dim=1))
    assert contrast(anchors, anchors, background, pseudo, alpha=1.0, pseudo_mode="weight") == pytest.approx(as_negative)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pseudo_mode": "both"}, "pseudo_mode"),
        ({"temperature": 0.0}, "temperature"),
        ({"alpha": -1.0, "pseudo_mode": "weight"}, "alpha"),
    ],
)
def test_options_without_meaning_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        contrast(unit(0, 2), unit(0, 2), unit(1, 2, 3), unit(1, 2, 1), **options)


def labels(positives=20, others=0, outside=0):
    """Branch labels in a row: outside, anchors, another branch, background."""
    row = torch.zeros(400)
    row[:outside] = -1
    row[outside : outside + positives] = 1
    row[outside + positives : outside + positives + others] = 2
    return row.reshape(1, 20, 20, 1)


def test_every_voxel_is_drawn_from_its_class():
    flat = labels(30, 15, 40).reshape(-1)
    voxels = draw_voxels(labels(30, 15, 40), 64, 5, 2)
    assert (flat[voxels.anchors] == 1).all()
    assert (flat[voxels.negatives] == 0).all()  # never padding
    assert (flat[voxels.pseudo_negatives] == 2).all()
    assert (tuple(voxels.negatives.shape), tuple(voxels.pseudo_negatives.shape)) == ((64, 5), (64, 2))


def test_anchors_do_not_repeat_where_there_are_enough():
    assert len(draw_voxels(labels(100), 64, 5, 1).anchors.unique()) == 64


def test_without_another_branch_there_are_no_pseudo_negatives():
    assert draw_voxels(labels(30), 64, 5, 1).pseudo_negatives is None


def test_plain_infonce_takes_all_branches_for_anchors():
    voxels = draw_voxels(labels(30, 30), 60, 5, 1, branch_aware=False)
    assert set(labels(30, 30).reshape(-1)[voxels.anchors].tolist()) == {1, 2}
    assert voxels.pseudo_negatives is None


@pytest.mark.parametrize(
    ("label", "drawn"),
    [(labels(9), False), (labels(10), True), (labels(0, 50), False), (labels(391), False), (labels(390), True)],
    ids=["9 anchors", "10 anchors", "only another branch", "9 negatives", "10 negatives"],
)
def test_fewer_than_ten_anchors_or_negatives_are_skipped(label, drawn):
    assert (draw_voxels(label, 64, 5, 1) is not None) == drawn


def test_shrinking_takes_the_first_voxel_of_each_cell():
    label = torch.arange(64.0).reshape(1, 1, 4, 4, 4)
    assert torch.equal(shrink_branches(label, torch.Size((2, 2, 2))), label[..., ::2, ::2, ::2])


def test_shrinking_by_max_keeps_thin_vessels_and_the_lower_id():
    label = torch.zeros(1, 1, 4, 4, 4)
    label[..., 1, 1, 1] = 2
    label[..., 3, 3, 3] = 2
    label[..., 3, 3, 2] = 1
    label[..., 0, 2:, :2] = -1
    small = shrink_branches(label, torch.Size((2, 2, 2)), "max")[0, 0]
    assert (small[0, 0, 0], small[1, 1, 1], small[0, 1, 0], small[1, 0, 0]) == (2, 1, -1, 0)


def test_an_unknown_way_of_shrinking_is_refused():
    with pytest.raises(ValueError, match="label_resize"):
        shrink_branches(torch.zeros(1, 1, 4, 4, 4), torch.Size((2, 2, 2)), "mean")


class Echo(nn.Module):
    """A network whose only feature map is its input, so that the terms can be computed by hand."""

    def with_features(self, x):
        return torch.cat([x, -x], dim=1), [x.expand(-1, 4, -1, -1, -1)]


def model_of(network=None, channels=(4,), **options):
    torch.manual_seed(0)
    return ContrastiveModel(network or Echo(), ProjectionHeads(channels), num_anchors=64, **options)


def batch(*elements):
    torch.manual_seed(1)
    return torch.randn(len(elements), 2, 20, 20, 1), torch.stack(elements)


def test_projecting_the_drawn_voxels_equals_drawing_from_projected_maps():
    views, branches = batch(labels(30, 20))
    model = model_of()
    torch.manual_seed(2)
    term = model(views, branches).contrasts[0]
    torch.manual_seed(2)
    voxels = draw_voxels(branches[0], 64, 5, 1)
    first, second = (model.heads[0](views[0, i].expand(4, -1, -1, -1).flatten(1).T) for i in (0, 1))
    expected = contrast(
        first[voxels.anchors], second[voxels.anchors], second[voxels.negatives], second[voxels.pseudo_negatives]
    )
    assert term.item() == pytest.approx(expected.item(), abs=1e-6)


def test_nothing_to_compare_costs_nothing_and_gives_no_gradient():
    term = model_of()(*batch(labels(9))).contrasts[0]
    assert term.item() == 0
    assert not term.requires_grad


def test_a_skipped_element_leaves_the_mean_of_the_others():
    views, branches = batch(labels(30), labels(9))
    torch.manual_seed(2)
    both = model_of()(views, branches).contrasts[0]
    torch.manual_seed(2)
    alone = model_of()(views[:1], branches[:1]).contrasts[0]
    assert both.item() == pytest.approx(alone.item(), abs=1e-6)


def test_switched_off_it_draws_nothing():
    state = torch.random.get_rng_state()
    model = model_of(enabled=False)
    torch.random.set_rng_state(state)
    model(torch.zeros(1, 2, 20, 20, 1), labels(30)[None])
    assert torch.equal(torch.random.get_rng_state(), state)


def test_both_views_move_the_running_statistics():
    network = SynCASNet(width=2)
    ContrastiveModel(network, ProjectionHeads(network.tap_channels))(
        torch.randn(1, 2, 32, 32, 32), torch.zeros(1, 1, 32, 32, 32)
    )
    assert network.stem.norm.num_batches_tracked == 2


def test_frozen_norms_keep_their_statistics():
    network = SynCASNet(width=2)
    model = ContrastiveModel(network, ProjectionHeads(network.tap_channels), frozen_norm=True).train()
    model(torch.randn(1, 2, 32, 32, 32), torch.zeros(1, 1, 32, 32, 32))
    assert network.stem.norm.num_batches_tracked == 0
    assert network.stem.training


def test_its_state_dict_names_the_networks_tensors_as_the_network_does_and_can_be_loaded():
    network, other = SynCASNet(width=2), SynCASNet(width=2)
    model, copy = (model_of(each, each.tap_channels) for each in (network, other))
    state = model.state_dict()
    assert {name for name in state if not name.startswith("heads.")} == set(network.state_dict())
    torch.nn.init.ones_(network.stem.norm.bias)
    copy.load_state_dict(model.state_dict())
    assert all(torch.equal(other.state_dict()[name], tensor) for name, tensor in network.state_dict().items())


def test_every_parameter_learns_from_the_loss():
    network = SynCASNet(width=2)
    model = model_of(network, network.tap_channels, label_resize="max")
    branches = torch.zeros(1, 1, 32, 32, 32)
    branches[..., :16, :, :] = 1
    branches[..., -4:, :, :] = 2
    SynCASLoss()(model(torch.randn(1, 2, 32, 32, 32), branches), branches).backward()
    without = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert without == []


def perfect(branches, confidence=20.0):
    logits = torch.cat([branches <= 0, branches > 0], dim=1) * confidence
    return TwoViews((logits, logits), (torch.zeros(()),), (0,))


def test_the_loss_of_a_perfect_segmentation_is_zero():
    branches = labels(30, 20)[None]
    assert SynCASLoss()(perfect(branches), branches).item() == pytest.approx(0, abs=1e-4)


def test_padding_is_background_never_vessel():
    branches = labels(30, 0, outside=40)[None]
    assert SynCASLoss()(perfect(branches), branches).item() == pytest.approx(0, abs=1e-4)


def test_the_loss_is_the_sum_of_its_logged_terms():
    branches = labels(30)[None]
    views = TwoViews(
        (torch.randn(1, 2, 20, 20, 1), torch.randn(1, 2, 20, 20, 1)),
        (torch.tensor(2.0), torch.tensor(3.0), torch.zeros(())),
        (1, 1, 0),
    )
    loss = SynCASLoss(contrast_weight=0.1)
    value = loss(views, branches)
    terms = loss.terms
    assert {name for name in terms if "contrast" in name} == {"contrast_0", "contrast_1"}
    assert [terms[f"skipped_{i}"] for i in range(3)] == [0, 0, 1]
    assert value.item() == pytest.approx(terms["dice"] + terms["cross_entropy"] + 0.5, abs=1e-5)


def test_without_information_dice_is_missed_and_the_entropy_is_that_of_a_coin():
    loss = SynCASLoss()
    loss(TwoViews((torch.zeros(1, 2, 20, 20, 1),) * 2, (torch.zeros(()),), (0,)), labels(1)[None])
    assert loss.terms["cross_entropy"] == pytest.approx(math.log(2))
    assert loss.terms["dice"] > 0.99


def test_of_a_hundred_epochs_the_fifty_second_is_the_first_late_one():
    engine, model, late = Engine(lambda *_: None), SimpleNamespace(late=False), []
    LateNegatives(model).attach(engine)
    engine.add_event_handler(Events.EPOCH_COMPLETED, lambda: late.append(model.late))
    engine.run([0], max_epochs=100)
    assert late == [False] * 51 + [True] * 49


def test_late_anchors_have_twice_the_negatives():
    model, views = model_of(), batch(labels(30, 20))
    torch.manual_seed(2)
    early = model(*views).contrasts[0]
    model.late = True
    torch.manual_seed(2)
    assert model(*views).contrasts[0] > early + 0.3  # of about ln 2


def test_terms_are_averaged_over_an_epoch_each_over_the_iterations_that_had_it():
    loss = SimpleNamespace(terms={})

    def iteration(_engine, value):
        loss.terms = {"dice": value, "skipped_0": float(value < 1)} | ({"contrast_0": value} if value > 1 else {})

    engine = Engine(iteration)
    LossTerms(loss).attach(engine)
    engine.run([0.0, 2.0, 4.0, 6.0], max_epochs=1)
    assert engine.state.metrics == {"dice": 3.0, "contrast_0": 4.0, "skipped_0": 0.25}


def test_skipped_elements_are_counted_one_by_one():
    views, branches = batch(labels(30), labels(9))
    loss = SynCASLoss()
    loss(model_of()(views, branches), branches)
    assert loss.terms["skipped_0"] == 0.5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_anchors": 0}, "num_anchors"),
        ({"label_resize": "mean"}, "label_resize"),
        ({"pseudo_mode": "both"}, "pseudo_mode"),
        ({"temperature": 0.0}, "temperature"),
    ],
)
def test_a_model_refuses_options_before_it_sees_a_patch(options, message):
    with pytest.raises(ValueError, match=message):
        ContrastiveModel(Echo(), ProjectionHeads((4,)), **options)


def test_a_negative_weight_of_the_contrast_is_refused():
    with pytest.raises(ValueError, match="contrast_weight must be at least 0"):
        SynCASLoss(contrast_weight=-0.1)
