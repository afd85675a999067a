"""A trained model in a form that other programs load: ONNX, ``torch.export``, a Hub folder."""
