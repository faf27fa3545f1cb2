"""The study driver: study files, search spaces, Optuna, MLflow. It knows nothing of VAEs or torch.

A workload meets the driver in one small protocol, `sweeps.workload.protocol.Lanes`.
"""
