"""One layer of each kind and layout, in which no two sizes that could be confused are equal."""

from __future__ import annotations

from typing import Any, Final

LAYERS: Final[dict[str, dict[str, Any]]] = {
    "linear": {"in_features": 5, "out_features": 3},
    "linear, layout in_out": {"in_features": 5, "out_features": 3, "layout": "in_out"},
    "bilinear": {"in1_features": 5, "in2_features": 4, "out_features": 3},
    **{
        f"conv{n}d": {"in_channels": 4, "out_channels": 6, "groups": 2, "kernel_size": [3, 2, 5][:n]} for n in (1, 2, 3)
    },
    **{
        f"conv_transpose{n}d": {"in_channels": 4, "out_channels": 6, "groups": 2, "kernel_size": [3, 2, 5][:n]}
        for n in (1, 2, 3)
    },
    "depthwise_conv": {"in_channels": 4, "depth_multiplier": 2, "kernel_size": [3, 5]},
    "separable_conv": {"in_channels": 4, "depth_multiplier": 2, "out_channels": 7, "kernel_size": [3, 5]},
    "rnn": {"input_size": 5, "hidden_size": 3},
    "lstm": {"input_size": 5, "hidden_size": 3},
    "gru": {"input_size": 5, "hidden_size": 3},
    "multihead_attention, fused": {"embed_dim": 6, "num_heads": 2},
    "multihead_attention": {"embed_dim": 6, "num_heads": 2},
    "multihead_attention, not fused": {"embed_dim": 6, "num_heads": 2, "kdim": 5, "vdim": 7},
    "embedding": {"num_embeddings": 7, "embedding_dim": 5},
    "layer_norm": {"normalized_shape": [4, 3]},
    "rms_norm": {"normalized_shape": [4, 3]},
    "group_norm": {"num_groups": 2, "num_channels": 4},
    "batch_norm": {"num_features": 4},
    "instance_norm": {"num_features": 4, "track_running_stats": True},
    "tensor": {"shape": [4, 3, 2]},
    "tensor, layout out_in": {"shape": [4, 3, 2]},
    "tensor, layout in_out": {"shape": [4, 3, 2], "layout": "in_out"},
}
