"""
A small real causal language model, trained in numpy, that stands in for Azure's fine-tuning pipeline on a laptop.

It has the shape of Phi-3 (names and layout of its tensors) at a ten-thousandth of the size; it is nobody's Phi-3 and says so in
everything that it writes. The gradients are real: the loss falls because weights change, and bad data give bad replies.
It is started as a child process (`python -m localcloud.trainer`); nothing here is imported by the emulator.
"""
