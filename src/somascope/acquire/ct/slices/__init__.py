"""The Fourier slice projector on a GPU; on the CPU it is `acquire.ct.fourier`."""
