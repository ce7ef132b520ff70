"""What systems are made of, in seven rooms; no system is named here.

``instances``: what a model learns from, windows of histories and negatives. ``text``: words, tokens
and sentence encoders. ``pretrained``: published models as folders. ``training``: the one loop.
``language_models``: T5s and causal models as backbones, their prompts and pseudo-queries.
``identifiers``: items as short sequences of codes. ``decoding``: trees of identifiers, and ranking
by the models that write them. Beneath them lie ``modules`` (weights in files, and the base class of
systems that are one torch module), ``layers``, ``precision`` and ``products``. ``seq2seq`` has the
names that systems outside import from there.
"""
