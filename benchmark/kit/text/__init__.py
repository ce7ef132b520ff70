"""Texts: ``encoders`` of sentences, ``words`` as numbers, and ``markers`` kept apart from text.

``pieces`` puts prompts together from pieces that were tokenised once, ``wordings`` has those around
the slots of a sentence; ``query_tables`` has what a system makes of queries, those of the data set
and new ones; ``bi_encoder`` fine-tunes an encoder on both tasks.
"""
