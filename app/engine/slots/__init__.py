"""A board for devices that work by themselves once they are told what to do: GPUs.

Every chain's state stays in a slot of the device's memory. A step is recorded once, enter, network
and leave, and started again and again by the host, which runs ahead: it sends what each row needs
for the next steps, and reads what has left, but waits for no step.

buffers is the device's memory, kernels what happens before and after the network, queue the order
of it all on the device; plans is what the host knows of chains; board puts them together.
"""
