"""The authors' rescaling of T5 v1.0, which keeps its function and shrinks its residual stream.

T5 v1.0 overflows in fp16. TACO's ``scale_t5_weights.py`` divides every sub-layer's output and the embeddings by 100;
the root-mean-square norms make the rest of the network blind to it. The function is the same, the optimisation
problem is not: gradients of the embeddings and output projections grow a hundredfold, and so does Adam's step there.
"""

from __future__ import annotations

from typing import Any

import torch

from mtbench.errors import ConfigError

FACTOR = 100.0
MARK = "residual_stream_divided_by"
"""Attribute of a configuration whose weights are scaled; it is saved with them, so that nobody scales them twice."""


def is_reparametrised(model: Any) -> bool:
    """Whether the weights are scaled already."""
    return getattr(model.config, MARK, None) is not None


def mark_reparametrised(model: Any) -> None:
    """Let the configuration say that the weights are scaled."""
    setattr(model.config, MARK, FACTOR)


def reparametrise_t5(model: Any) -> None:
    """Scale the weights of a T5 v1.0 model in place. ConfigError for other models (gated T5 v1.1, BERT)."""
    config = model.config
    if getattr(config, "model_type", "") != "t5" or getattr(config, "is_gated_act", False):
        raise ConfigError(
            "encoder.reparametrise_t5 is only right for T5 v1.0 (ReLU); set encoder.reparametrise_t5=false for "
            f"{getattr(config, 'model_type', type(model).__name__)!r} models"
        )
    with torch.no_grad():
        before = model.shared.weight.square().mean().sqrt()
        model.shared.weight.div_(FACTOR)
        for name, parameter in model.named_parameters():
            if name.endswith(("SelfAttention.o.weight", "EncDecAttention.o.weight")):
                parameter.div_(FACTOR)
            elif name.endswith(("DenseReluDense.wi.weight", "DenseReluDense.wo.weight")):
                parameter.div_(FACTOR**0.5)
        after = model.shared.weight.square().mean().sqrt()
    mark_reparametrised(model)
    assert torch.isclose(after / before, torch.tensor(1 / FACTOR), rtol=1e-3), "the embeddings were not scaled once"
