"""What runs in the guest: pid 1 and its children. Standard library, ipykernel, and the rest of this library only."""
