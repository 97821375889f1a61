"""The options of each optimizer, declared once and without torch.

A dataclass per optimizer has the names, types and defaults of its options. The `Option` in a field's
annotation has the rest. The constructor's signature, checks and docstring, the keys of a configuration, its
JSON schema and its reference page are made from that.

They are not in the optimizers' modules because planning a campaign must not import torch: it takes seconds.
"""
