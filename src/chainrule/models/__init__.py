"""The models: a module each, with ``init(key, ...) -> params`` and ``apply(params, inputs)``."""
