"""The models: each module holds ``init(key, ...) -> params`` and ``apply(params, inputs) -> outputs``."""
