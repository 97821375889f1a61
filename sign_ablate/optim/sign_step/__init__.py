"""The sign step of SignSGD and HybridSignSGD, in each of its implementations: plain, foreach and fused."""
