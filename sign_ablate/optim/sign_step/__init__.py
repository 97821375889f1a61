"""The sign step of SignSGD and HybridSignSGD: in plain torch operations, by foreach, in C and in Triton."""
