"""Compression of gradients between backward and the update (``--compress``): codecs, and their exchange.

codec.py            kinds of codecs, the plan of a bucket
scale.py, carry.py  errors that are kept, by the weight of a step, on a CPU and on a device
linear.py           codecs whose messages any all-reduce sums: randomk.py, powersgd.py (and identity.py)
owners.py           codecs of elements, summed by the owners of chunks: blocks.py (bf16, fp16, int8, sign)
topk.py             the largest elements, gathered
exchange.py         stages of a bucket while backward runs
guard.py            errors of a user's codec
compressed_sync.py  the synchronization of a run
registry.py         codecs by name; auto.py chooses one
"""
