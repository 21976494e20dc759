"""`scratchlab lab`: the lessons in JupyterLab, as copies that belong to the learner. Works on every system that has QEMU."""
