"""ONNX models in the processes of models: cut in the graph of their file, and run by onnxruntime."""

import os

# onnxruntime starts a thread for reports to its makers when it is imported. None are sent, and a process that will be
# sealed may have no second thread.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
