"""Models as ONNX files (https://onnx.ai): a graph of standard operators, with the weights in it.

``graph`` builds the file, ``rules`` finds the function that adds a layer's operators to it, ``write`` makes the file of
a finished run, with the normalization of its samples and the probabilities of classes. The functions are beside each
other by kinds of layers: ``images``, ``rows``, ``tokens``, ``columns``, ``containers``.
"""
