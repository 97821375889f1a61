"""Quantities of probed steps. Read without pyarrow, for the check of claims.yaml."""

#: quantities of probe.parquet. ḡ and σ: mean and standard deviation of the gradients of minibatches at the
#: parameters before the step; g: gradient of the step's own minibatch; Δ: parameters before minus after it.
PROBE_QUANTITIES = {
    "batches": "number of minibatches, at most 64",
    "snr": "|ḡ_i|/σ_i over the coordinates; about 0.8/√batches where there is no signal",
    "snr_low": "fraction of coordinates with |ḡ_i|/σ_i < 2/√3",
    "skewness": "skewness of the minibatch gradients, over the coordinates",
    "skewed": "fraction of coordinates whose skewness is not 0 at the 5 % level; 0.05 for Gaussian noise",
    "noiseless": "fraction of coordinates with σ_i = 0, which the rows above leave out",
    "cos_gradient": "cosine of Δ and g",
    "cos_mean": "cosine of Δ and ḡ",
    "lambda": "|⟨Δ, g⟩|/‖g‖², λ_k of eq. (12)",
    "lambda_null": "mean λ_k of a sign step on Gaussian noise without signal: "
    "δ·√((1−β²)/(1−β²ⁿ))·‖g‖₁/‖g‖² at step n (from 1)",
    "momentum_over_sigma": "rms(m)/σ_k",
    "flip_fraction": "fraction of signs that the dither flipped",
}
#: names of the quantities in the ledger, where their own would have to be looked up
PROBE_NAMES = {
    "snr_low": "coordinates of SNR < 2/√3",
    "skewed": "coordinates of skewness ≠ 0",
    "cos_gradient": "cos(Δ, g)",
    "cos_mean": "cos(Δ, ḡ)",
    "lambda": "λ_k",
    "lambda_null": "λ_k of noise alone",
    "momentum_over_sigma": "rms(m)/σ_k",
    "flip_fraction": "flipped signs",
}
