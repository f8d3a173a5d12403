"""The workloads that come with codecbench: one module or package each."""
