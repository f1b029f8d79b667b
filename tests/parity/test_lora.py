"""Our low-rank adapters are PEFT's: the same random numbers, names, arithmetic, gradients and files, bit by bit."""

import copy

import pytest
import torch
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM

from video_salmonn.errors import CheckpointError, ConfigError
from video_salmonn.model import adapters
from video_salmonn.model.lora import LoraSettings

peft = pytest.importorskip("peft")
SETTINGS = LoraSettings(r=4, alpha=10, dropout=0.25, targets=("q_proj", "v_proj", "down_proj"))
IDS = torch.arange(3, 27).reshape(2, 12)


def language_model():
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=32, num_attention_heads=4, num_hidden_layers=2, intermediate_size=48, vocab_size=64
    )
    return LlamaForCausalLM(config).eval()


def theirs(model, name="default"):
    config = peft.LoraConfig(
        r=SETTINGS.r,
        lora_alpha=SETTINGS.alpha,
        lora_dropout=SETTINGS.dropout,
        target_modules=list(SETTINGS.targets),
        bias="none",
        task_type="CAUSAL_LM",
    )
    return peft.inject_adapter_in_model(config, model, adapter_name=name)


def filled(model):
    """B is zero in a new adapter: numbers at which a mistake shows."""
    torch.manual_seed(2)
    for name, parameter in model.named_parameters():
        if ".lora_B." in name:
            torch.nn.init.normal_(parameter, std=0.3)
    return model


@pytest.fixture
def pair():
    made = []
    for inject in (theirs, lambda model: adapters.inject(model, SETTINGS)):
        model = language_model()
        torch.manual_seed(1)
        inject(model)
        model.eval()  # PEFT leaves a new adapter in training mode
        made.append((model, torch.get_rng_state()))
    (one, after_one), (other, after_other) = made
    assert torch.equal(after_one, after_other), "as many random numbers"
    return filled(one), filled(other)


def test_names_order_values_and_what_is_trained(pair):
    one, other = ([(name, p.requires_grad) for name, p in model.named_parameters()] for model in pair)
    assert one == other
    one, other = (model.state_dict() for model in pair)
    assert list(one) == list(other) and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_outputs_and_merged_weights(pair, dtype):
    one, other = (model.to(dtype) for model in pair)
    with torch.inference_mode():
        logits = one(IDS).logits
        assert torch.equal(logits, other(IDS).logits)
    for layer in one.modules():
        if isinstance(layer, peft.tuners.lora.LoraLayer):
            layer.merge(safe_merge=True)
    merged = {name: layer.get_base_layer().weight for name, layer in one.named_modules() if hasattr(layer, "merged")}
    assert adapters.merge(other) == len(merged) == 6
    assert all(torch.equal(weight, other.get_submodule(name).weight) for name, weight in merged.items())
    assert not adapters.names(other) and not any("lora" in name for name in other.state_dict())


def test_gradients_with_dropout(pair):
    losses = []
    for model in pair:
        torch.manual_seed(3)
        loss = model.train()(IDS, labels=IDS).loss
        loss.backward()
        losses.append(loss)
    assert torch.equal(*losses)
    gradients = [{name: p.grad for name, p in model.named_parameters() if p.grad is not None} for model in pair]
    assert gradients[0].keys() == gradients[1].keys()
    assert all(torch.equal(gradients[0][name], gradients[1][name]) for name in gradients[0])


@pytest.mark.parametrize("prefix", ["", "base_model.model."])
def test_files_are_theirs(pair, tmp_path, prefix):
    one, other = pair
    state = peft.utils.get_peft_model_state_dict(one)
    assert {name: t.tolist() for name, t in state.items()} == {
        name: t.tolist() for name, t in adapters.state(other).items()
    }
    save_file({f"{prefix}{name}": tensor.contiguous() for name, tensor in state.items()}, tmp_path / "adapter")
    loaded = language_model()
    adapters.load(loaded, tmp_path / "adapter", SETTINGS, "music")
    with torch.inference_mode():
        assert torch.equal(loaded(IDS).logits, one(IDS).logits)


def test_a_file_that_does_not_fit_changes_nothing(pair, tmp_path):
    adapters.save(pair[1], tmp_path / "adapter")
    model = language_model()
    before = copy.deepcopy(list(model.state_dict()))
    for changes, found in (({"r": 8}, "another shape"), ({"targets": ("q_proj",)}, "unexpected")):
        with pytest.raises(CheckpointError, match=found):
            adapters.load(model, tmp_path / "adapter", {**SETTINGS.to_dict(), **changes}, "music")
    assert list(model.state_dict()) == before


@pytest.mark.parametrize(
    ("values", "name", "message"),
    [
        ({"r": 4, "targets": ["q_proj"], "rank": 3}, "default", "unknown or missing keys"),
        ({"targets": ["q_proj"]}, "default", "unknown or missing keys"),
        ({"r": 0, "targets": ["q_proj"]}, "default", "lora.r is 0"),
        ({"r": 4, "targets": ["none_such"]}, "default", "name no layer"),
        ({"r": 4, "targets": ["embed_tokens"]}, "default", "embed_tokens is Embedding"),
        ({"r": 4, "targets": ["q_proj"]}, "a.b", "cannot be named"),
        ({"r": 4, "targets": ["q_proj"]}, "keys", "cannot be named"),
    ],
)
def test_impossible_settings_are_named(values, name, message):
    model = language_model()
    with pytest.raises(ConfigError, match=message):
        adapters.inject(model, values, name)
    assert all(p.requires_grad for p in model.parameters())


def test_an_adapter_is_in_the_mode_of_its_layer():
    model = language_model()
    adapters.inject(model, SETTINGS)
    dropouts = [layer for layer in model.modules() if isinstance(layer, torch.nn.Dropout)]
    assert len(dropouts) == 6 and not any(layer.training for layer in dropouts)
    adapters.inject(model.train(), SETTINGS, "second")
    assert all(layer.training for layer in model.modules() if isinstance(layer, torch.nn.Dropout))


def test_the_first_adapter_is_active_and_none_means_off():
    model = filled_with(language_model(), "first", "second")
    assert adapters.active(model) == ["first"]
    adapters.activate(model)
    adapters.inject(model, SETTINGS, "third")
    assert adapters.active(model) == [], "what was off stays off"
    with torch.inference_mode():
        assert torch.equal(model(IDS).logits, language_model()(IDS).logits)


def filled_with(model, *names):
    for name in names:
        adapters.inject(model, SETTINGS, name)
    return filled(model)
