"""Where tensors live and how they are computed: CPU and CUDA behind one Protocol."""
