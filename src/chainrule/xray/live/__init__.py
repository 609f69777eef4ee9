"""The living page: the recorded program and its gradients as data, which a page runs again."""
