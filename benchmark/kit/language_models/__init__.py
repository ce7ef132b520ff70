"""Language models as backbones, and what they read.

``backbone``: a model with its tokenizer; ``seq2seq``: a T5; ``causal``: a model that reads on as it
writes; ``tokenizer``: of both. ``prompted``: systems on a backbone that reads prompts of pieces.
``prompt_instances``: pairs of prompt and target to learn from; ``pseudo_queries``: what a user
might type to find an item, written by such a model.
"""
