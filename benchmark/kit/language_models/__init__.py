"""Language models as backbones, and what they read.

``seq2seq``: a T5, its tokenizer, and prompts put together from pieces; ``causal``: a model that
reads on as it writes. ``prompt_instances``: pairs of prompt and target to learn from;
``pseudo_queries``: what a user might type to find an item, written by such a model.
"""
